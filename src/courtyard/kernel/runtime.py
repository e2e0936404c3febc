"""What lives as long as the process: configuration, connections, keys, caches. Made once, handed on in each context."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import redis.asyncio as redis

from courtyard.kernel.application import Application
from courtyard.kernel.clock import Clock, SystemClock
from courtyard.kernel.context import Identity
from courtyard.kernel.crypto import AccessTokens, KeyRing, Signer
from courtyard.kernel.database import Database, Placement, SharedPlacement
from courtyard.kernel.events import Bus, Dispatcher, LocalBus, RedisBus
from courtyard.kernel.passwords import Passwords
from courtyard.kernel.settings import Settings


@dataclass(frozen=True)
class Runtime:
    """One process of Courtyard.

    Attributes:
        settings: what the operator chose.
        parts: the modules of the kernel and the installed applications.
        clock: the time.
        placement: the databases.
        bus: the other processes.
        dispatcher: the live end of the event log.
        tokens: issues and verifies access tokens.
        signer: keyed digests.
        keys: encrypts the values of columns.
        passwords: password hashes.
        roles: name of a role → its permissions, of all parts together.
        identity: who is who, and may do what.
        redis: a client for what processes share, None where there is only one process.
    """

    settings: Settings
    parts: Sequence[Application]
    clock: Clock
    placement: Placement
    bus: Bus
    dispatcher: Dispatcher
    tokens: AccessTokens
    signer: Signer
    keys: KeyRing
    passwords: Passwords
    roles: Mapping[str, frozenset[str]]
    identity: Identity
    redis: "redis.Redis | None"

    @classmethod
    def create(
        cls,
        settings: Settings,
        parts: Sequence[Application],
        identity: Identity,
        *,
        clock: Clock | None = None,
        placement: Placement | None = None,
    ) -> Self:
        """Put a process together. Nothing is opened yet."""
        placement = placement or SharedPlacement(Database(settings.database_url, settings.database))
        client = redis.from_url(settings.redis_url, socket_timeout=5.0) if settings.redis_url else None
        bus: Bus = LocalBus()
        if settings.redis_url:
            # A subscription waits for long on its own connection, so it has no time-out for reading.
            bus = RedisBus(redis.from_url(settings.redis_url), settings.redis.prefix)
        security = settings.security
        return cls(
            settings=settings,
            parts=parts,
            clock=clock or SystemClock(),
            placement=placement,
            bus=bus,
            dispatcher=Dispatcher(placement, bus, settings.events),
            tokens=AccessTokens(security.signing_ring),
            signer=Signer(security.signing_ring),
            keys=KeyRing(security.encryption_ring),
            passwords=Passwords(
                time_cost=security.argon2_time_cost,
                memory_kib=security.argon2_memory_kib,
                parallelism=security.argon2_parallelism,
                workers=security.argon2_workers,
            ),
            roles=permissions_by_role(parts),
            identity=identity,
            redis=client,
        )

    async def close(self) -> None:
        """Let go of everything."""
        await self.dispatcher.stop()
        await self.bus.close()
        if self.redis is not None:
            await self.redis.aclose()
        for database in self.placement.databases():
            await database.close()
        self.passwords.close()


def permissions_by_role(parts: Sequence[Application]) -> dict[str, frozenset[str]]:
    """Return what each role may do, over all parts.

    Raises:
        ValueError: a role names a permission that no part declares.
    """
    known = {name for part in parts for name in part.permissions}
    roles: dict[str, frozenset[str]] = {}
    for part in parts:
        for name, role in part.roles.items():
            unknown = role.permissions - known
            if unknown:
                raise ValueError(f"{part.name}: the role {name} names unknown permissions: {sorted(unknown)}")
            roles[name] = roles.get(name, frozenset()) | role.permissions
    return roles
