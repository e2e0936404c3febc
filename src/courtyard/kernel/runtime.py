"""What lives as long as the process: configuration, connections, keys, caches. Made once, handed on in each context."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, cast

import redis.asyncio as redis

from courtyard.kernel.application import (
    Application,
    Role,
    ScopeKind,
    declared_roles,
    declared_schedules,
    declared_tasks,
)
from courtyard.kernel.clock import Clock, SystemClock
from courtyard.kernel.context import Identity
from courtyard.kernel.crypto import AccessTokens, KeyRing, Signer
from courtyard.kernel.database import Database, Placement
from courtyard.kernel.events import Bus, Dispatcher, LocalBus, RedisBus
from courtyard.kernel.limits import Limits, declared_policies, faults_of
from courtyard.kernel.openid import Providers
from courtyard.kernel.passwords import Passwords
from courtyard.kernel.pictures import Pictures
from courtyard.kernel.proxies import Proxies
from courtyard.kernel.rings import Ring
from courtyard.kernel.settings import Settings, SettingsError
from courtyard.kernel.shards import ShardedPlacement, ShardedStorage
from courtyard.kernel.storage import SharedStorage, Slots, StoragePlacement, TooManyUploads, open_storage
from courtyard.kernel.trail import AuditNames, Gate

if TYPE_CHECKING:
    from courtyard.kernel.tasks import Schedule, Task


class Resource(Protocol):
    """Something that is let go of when the process ends."""

    async def close(self) -> None:
        """Let go of it."""
        ...


R = TypeVar("R", bound=Resource)


class Resources:
    """What parts open when they first need it, and keep for as long as the process: connections to a mail server.

    Args:
        settings: what the operator chose.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: dict[Callable[[Settings], Any], Resource] = {}

    def get(self, make: Callable[[Settings], R]) -> R:
        """Return what a function makes of the settings, the same each time."""
        made = self._made.get(make)
        if made is None:
            made = self._made[make] = make(self._settings)
        return cast("R", made)

    async def close(self) -> None:
        """Let go of everything that was made."""
        for made in self._made.values():
            await made.close()


@dataclass(frozen=True)
class Runtime:
    """One process of Courtyard.

    Attributes:
        settings: what the operator chose.
        parts: the modules of the kernel and the installed applications.
        clock: the time.
        placement: the databases.
        storage: where the files of workspaces are.
        uploads: how many there can be at once.
        pictures: works on pictures.
        bus: the other processes.
        dispatcher: the live end of the event log.
        signing: the keys of what is soon over, looked at by the clock.
        encryption: the keys of what stays.
        tokens: issues and verifies access tokens.
        signer: keyed digests of what lives shorter than a signing key: links, codes, tokens.
        digests: keyed digests that must outlive signing keys: of API keys, of audit rows.
        keys: encrypts the values of columns.
        passwords: password hashes.
        permissions: name of a permission → what it allows, of all parts.
        built_in: name of a role → what all parts together say of it.
        roles: name of a built-in role → its permissions.
        scopes: name of a kind of things on which roles can be given → what it is.
        openid: the providers to log in with.
        identity: who is who, and may do what.
        limits: counts against rate limits.
        proxies: knows where a request comes from.
        redis: a client for what processes share, None where there is only one process.
        tasks: name of a task → what is declared of it.
        schedules: name of a schedule → what is declared of it.
        audit_names: what entries of the audit log are called.
        resources: what parts keep open.
        refusals: holds back what is refused again and again from the audit log.
    """

    settings: Settings
    parts: Sequence[Application]
    clock: Clock
    placement: Placement
    storage: StoragePlacement
    uploads: Slots
    pictures: Pictures
    bus: Bus
    dispatcher: Dispatcher
    signing: Ring
    encryption: Ring
    tokens: AccessTokens
    signer: Signer
    digests: Signer
    keys: KeyRing
    passwords: Passwords
    permissions: Mapping[str, str]
    built_in: Mapping[str, Role]
    openid: Providers
    roles: Mapping[str, frozenset[str]]
    scopes: Mapping[str, ScopeKind]
    identity: Identity
    limits: Limits
    proxies: Proxies
    redis: "redis.Redis | None"
    tasks: "Mapping[str, Task[Any]]"
    schedules: "Mapping[str, Schedule]"
    audit_names: AuditNames
    resources: Resources
    refusals: Gate = field(default_factory=Gate)

    @classmethod
    def create(
        cls,
        settings: Settings,
        parts: Sequence[Application],
        identity: Identity,
        *,
        clock: Clock | None = None,
        placement: Placement | None = None,
        storage: StoragePlacement | None = None,
    ) -> Self:
        """Put a process together. Nothing is opened yet.

        Raises:
            SettingsError: a limit or a quota that is set is not declared by any part, or not to be understood.
        """
        if faults := limit_faults(settings, parts):
            raise SettingsError(*faults)
        client = redis.from_url(settings.redis_url, socket_timeout=5.0) if settings.redis_url else None
        bus: Bus = LocalBus()
        if settings.redis_url:
            # A subscription waits for long on its own connection, so it has no time-out for reading.
            bus = RedisBus(redis.from_url(settings.redis_url), settings.redis.prefix)
        clock = clock or SystemClock()
        security = settings.security
        built_in = declared_roles(parts)
        signing, encryption = Ring(security.signing_ring, clock), Ring(security.encryption_ring, clock)
        signer, keys = Signer(signing), KeyRing(encryption)
        if placement is None:
            main = Database(settings.database_url, settings.database)
            placement = ShardedPlacement(main, settings, parts, keys)
        if storage is None:
            shared = open_storage(settings.files.storage, settings.files_path)
            if isinstance(placement, ShardedPlacement):
                storage = ShardedStorage(shared, placement, settings.files_path)
            else:
                storage = SharedStorage(shared)
        return cls(
            settings=settings,
            parts=parts,
            clock=clock,
            placement=placement,
            storage=storage,
            uploads=Slots(settings.files.uploads, TooManyUploads),
            pictures=Pictures(settings.files),
            bus=bus,
            dispatcher=Dispatcher(placement, bus, settings.events),
            signing=signing,
            encryption=encryption,
            tokens=AccessTokens(signing),
            signer=signer,
            # These keys do not retire: they stay for as long as there is something to read with them.
            digests=Signer(encryption),
            keys=keys,
            passwords=Passwords(
                time_cost=security.argon2_time_cost,
                memory_kib=security.argon2_memory_kib,
                parallelism=security.argon2_parallelism,
                workers=security.argon2_workers,
            ),
            permissions={name: description for part in parts for name, description in part.permissions.items()},
            built_in=built_in,
            roles={name: role.permissions for name, role in built_in.items()},
            scopes={kind.name: kind for part in parts for kind in part.scopes},
            openid=Providers(settings.accounts.oidc, clock),
            identity=identity,
            limits=Limits(declared_policies(parts), settings, signer),
            proxies=Proxies(settings.server.trusted_proxies, settings.server.forwarded_header),
            redis=client,
            tasks=declared_tasks(parts),
            schedules=declared_schedules(parts),
            audit_names=AuditNames(parts),
            resources=Resources(settings),
        )

    async def close(self) -> None:
        """Let go of everything."""
        await self.dispatcher.stop()
        await self.resources.close()
        await self.identity.close()
        await self.bus.close()
        await self.limits.close()
        await self.openid.close()
        if self.redis is not None:
            await self.redis.aclose()
        await self.placement.close()
        self.passwords.close()


def limit_faults(settings: Settings, parts: Sequence[Application]) -> list[str]:
    """Return what is wrong with the settings of rate limits and quotas, which only the parts can tell."""
    quotas = {quota.name for part in parts for quota in part.quotas}
    return [
        *faults_of(settings.limits.policies, declared_policies(parts)),
        *(f"limits.quotas: there is no quota {name}" for name in settings.limits.quotas if name not in quotas),
    ]
