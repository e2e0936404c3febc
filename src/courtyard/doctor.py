"""`courtyard doctor`: what is configured, reachable, out of date or unsafe, one line each with its mend."""

import asyncio
import contextlib
import os
import resource
import shutil
import socket
import sqlite3
import ssl
import stat
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from structlog.testing import capture_logs
from typing_extensions import override

from courtyard.kernel.settings import Settings, SettingsError, complete, read_settings, refusals
from courtyard.kernel.settings_sections import SmtpSettings
from courtyard.kernel.settings_sources import DOTENV_FILE, config_file
from courtyard.kernel.settings_text import without_password

if TYPE_CHECKING:
    from courtyard.kernel.database import Database
    from courtyard.kernel.runtime import Runtime

PROBE_SECONDS = 5.0
LOW_DISK_BYTES = 1 << 30
# OWASP's least for Argon2id with one lane and two passes; three passes may have less memory.
LEAST_ARGON2_KIB = 19_456
SPARE_FILES = 200

Level = Literal["ok", "warn", "fail"]


class Check(NamedTuple):
    """One finding: how bad, about what, what was seen, and what to do about it."""

    level: Level
    subject: str
    finding: str
    mend: str = ""

    @override
    def __str__(self) -> str:
        """Return the line that a person reads."""
        mend = f" -> {self.mend}" if self.mend else ""
        return f"{self.level:<4}  {self.subject}: {self.finding}{mend}"


async def examine() -> AsyncIterator[Check]:
    """Look at everything in turn; a part that cannot be looked at does not hide the others."""
    try:
        settings = read_settings()
    except SettingsError as error:
        for fault in error.faults:
            yield Check("fail", "settings", fault, "correct it where it is set")
        return
    for fault in refusals(settings):
        yield Check("fail", "settings", fault)
    try:
        settings = complete(settings, make_secrets=False)
    except SettingsError as error:
        for fault in error.faults:
            yield Check("fail", "secrets", fault)
    for check in (*_settings(settings), *_files(settings), *_machine(settings), *_applications(settings)):
        yield check
    async for check in _services(settings):
        yield check


async def _services(settings: Settings) -> AsyncIterator[Check]:
    database = await _database(settings)
    yield database
    if database.level == "ok":
        found = [check async for check in _migrations(settings)]
        for check in found:
            yield check
        if all(check.level == "ok" for check in found):
            async for check in _shards(settings):
                yield check
    for service in (_redis, _broker, _storage, _mail):
        yield await service(settings)


def _settings(settings: Settings) -> Iterator[Check]:
    path = config_file()
    yield Check("ok", "mode", f"{settings.mode}, settings from {path or 'the environment and defaults'}")
    if settings.security.generated:
        yield Check(
            "warn",
            "secrets",
            "made by Courtyard, good for trying out",
            "before production: `courtyard config keys`",
        )
    elif settings.security.signing_keys:
        yield Check("ok", "secrets", "configured")
    address = settings.public_url
    if address.startswith("https://") or not settings.production:
        yield Check("ok", "address", f"{address}, cookies {'' if settings.cookie_secure else 'not '}for https alone")
    else:
        yield Check("warn", "address", f"{address} in production", "set server.public_url to an https address")
    for origin in settings.server.cors_origins:
        if settings.production and origin.startswith("http://"):
            yield Check(
                "warn",
                "cors",
                f"{origin} may call this server and can be impersonated",
                "use its https address",
            )
    security = settings.security
    if security.argon2_memory_kib * security.argon2_time_cost < 2 * LEAST_ARGON2_KIB:
        level: Level = "fail" if settings.production else "warn"
        yield Check(
            level,
            "passwords",
            "Argon2id is set weaker than advised",
            "remove security.argon2_* from the settings",
        )
    if settings.production and (settings.telemetry.log_level == "DEBUG" or sys.flags.dev_mode):
        yield Check(
            "warn",
            "debug",
            "debugging is on in production",
            "set telemetry.log_level to INFO, unset PYTHONDEVMODE",
        )


def _files(settings: Settings) -> Iterator[Check]:
    for path in (config_file(), Path(DOTENV_FILE)):
        if path is not None and path.is_file() and _mode(path) & 0o077:
            yield Check("warn", "files", f"{path} can be read by others, and may hold secrets", f"chmod 600 {path}")
    data = settings.data_path
    if not data.exists():
        yield Check("ok", "data", f"{data} is made at the first start")
        return
    if not os.access(data, os.W_OK | os.X_OK):
        yield Check("fail", "data", f"{data} cannot be written to", "give it to the user that runs Courtyard")
    elif _mode(data) & 0o077:
        yield Check("fail", "data", f"{data} is open to other users", f"chmod 700 {data}")
    else:
        free = shutil.disk_usage(data).free
        low = free < LOW_DISK_BYTES
        yield Check(
            "warn" if low else "ok",
            "data",
            f"{data}, {free / 1e9:.1f} GB free",
            "make room on this disk" if low else "",
        )


def _machine(settings: Settings) -> Iterator[Check]:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.server.max_connections + SPARE_FILES
    if files < wanted:
        yield Check(
            "warn",
            "open files",
            f"{files} are allowed, {settings.server.max_connections} connections may come",
            f"ulimit -n {wanted}, or lower server.max_connections",
        )
    else:
        yield Check("ok", "open files", f"{files} are allowed")


def _applications(settings: Settings) -> Iterator[Check]:
    from courtyard.kernel.application import UnknownApplication, installed  # noqa: PLC0415 - slow

    try:
        found = installed(settings.applications)
    except UnknownApplication as error:
        yield Check("fail", "applications", str(error), "correct `applications`, or install what is missing")
    except Exception as error:  # noqa: BLE001 - foreign code: any fault of it is a finding
        yield Check("fail", "applications", f"one cannot be loaded: {_short(error)}")
    else:
        yield Check("ok", "applications", ", ".join(application.name for application in found) or "none")
        yield from _limits(settings)


def _limits(settings: Settings) -> Iterator[Check]:
    from courtyard.kernel.runtime import limit_faults  # noqa: PLC0415 - slow
    from courtyard.server import parts  # noqa: PLC0415

    if faults := limit_faults(settings, parts(settings)):
        yield from (Check("fail", "limits", fault, "correct it where it is set") for fault in faults)
    elif settings.limits.enabled:
        yield Check("ok", "limits", f"on, {len(settings.limits.policies)} with an amount of their own")
    else:
        yield Check("warn", "limits", "off: passwords can be guessed as fast as they are checked", "limits.enabled")


async def _database(settings: Settings) -> Check:
    path = settings.sqlite_path
    if path is not None and not path.exists():
        return Check("ok", "database", f"SQLite, {path} is made at the first start")
    if path is not None and _mode(path) & 0o077 and _mode(path.parent) & 0o077:
        return Check("fail", "database", f"{path} can be read by other users", f"chmod 600 {path}")
    where = without_password(settings.database_url)
    started = time.perf_counter()
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            version = await _postgresql_version(settings) if path is None else _sqlite_version(path)
    except Exception as error:  # noqa: BLE001 - whatever a driver raises is the finding
        return Check(
            "fail",
            "database",
            f"{where} does not answer: {_short(error)}",
            "start it, or correct database.url",
        )
    return Check("ok", "database", f"{version} at {where}, {_milliseconds(started)}")


def _sqlite_version(path: Path) -> str:
    # Read-only, so that looking never makes a file or takes a lock that a writer waits for.
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=PROBE_SECONDS)) as connection:
        (version,) = connection.execute("SELECT sqlite_version()").fetchone()
        (journal,) = connection.execute("PRAGMA journal_mode").fetchone()
    return f"SQLite {version} ({journal})"


async def _postgresql_version(settings: Settings) -> str:
    import asyncpg  # noqa: PLC0415 - only where there is a PostgreSQL

    connection = await asyncpg.connect(settings.database_url, timeout=PROBE_SECONDS)
    try:
        version = await connection.fetchval("SHOW server_version")
    finally:
        connection.terminate()
    return f"PostgreSQL {version}"


async def _migrations(settings: Settings) -> AsyncIterator[Check]:
    # Imported here, because all of the server comes with it.
    from courtyard.kernel.database import Database  # noqa: PLC0415
    from courtyard.kernel.database.migrations import states  # noqa: PLC0415
    from courtyard.server import parts  # noqa: PLC0415

    database = Database(settings.database_url, settings.database)
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            found = await states(database, parts(settings))
    except Exception as error:  # noqa: BLE001 - as for the database
        yield Check("fail", "migrations", f"their state cannot be read: {_short(error)}")
        return
    finally:
        await database.close()
    for state in found:
        if state.newer_than_code:
            yield Check(
                "fail",
                "migrations",
                f"{state.module} is at {state.current}, which is newer than this Courtyard",
                "install the Courtyard that migrated it",
            )
        elif state.pending and settings.auto_migrate:
            yield Check("warn", "migrations", f"{state.module}: {len(state.pending)} run at the next start")
        elif state.pending:
            pending = f"{state.module}: {len(state.pending)} still to be run"
            yield Check("fail", "migrations", pending, "courtyard migrate up")
    if all(state.ready for state in found):
        yield Check("ok", "migrations", "up to date")


async def _shards(settings: Settings) -> AsyncIterator[Check]:
    from courtyard.kernel.runtime import Runtime  # noqa: PLC0415
    from courtyard.kernel.shards import UNREADABLE  # noqa: PLC0415
    from courtyard.kernel.workspaces import DatabaseIdentity  # noqa: PLC0415
    from courtyard.server import parts  # noqa: PLC0415

    runtime = None
    try:
        runtime = Runtime.create(settings, parts(settings), DatabaseIdentity())
        with capture_logs() as said:
            await runtime.placement.load()
        # A server in the same process, as in tests, says other things meanwhile.
        for line in (each for each in said if each["event"] == UNREADABLE):
            subject = f"that of workspace {line['workspace_id']} cannot be found"
            yield Check("fail", "shards", subject, "bring back the key in security.encryption_keys that was taken away")
        for check in await asyncio.gather(*(_shard(runtime, one) for one in runtime.placement.databases()[1:])):
            yield check
    except Exception as error:  # noqa: BLE001 - as for the database
        yield Check("fail", "shards", f"where workspaces live cannot be read: {_short(error)}", "courtyard migrate up")
    finally:
        if runtime is not None:
            await runtime.close()


async def _shard(runtime: "Runtime", database: "Database") -> Check:
    from courtyard.kernel.database.migrations import address, pending  # noqa: PLC0415
    from courtyard.kernel.shards import Shard, installation_id  # noqa: PLC0415

    where, started = address(database.url), time.perf_counter()
    name = database.name if isinstance(database, Shard) else ""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await database.ping()
            behind = await pending(database, runtime.parts, main=False)
            owner = await installation_id(runtime.placement.main, runtime.clock.now())
            if not behind and isinstance(database, Shard):
                with capture_logs():
                    await database.admit(runtime.parts, owner)
    except Exception as error:  # noqa: BLE001 - as for the database
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        mend = "start it; its workspaces answer 503 until then"
        return Check("fail", "shards", f"{name} at {where} cannot be used: {_short(cause)}", mend)
    if behind:
        modules = ", ".join(state.module for state in behind)
        return Check("fail", "shards", f"{name} at {where} is not up to date ({modules})", "courtyard migrate up")
    return Check("ok", "shards", f"{name} at {where}, up to date, {_milliseconds(started)}")


async def _redis(settings: Settings) -> Check:
    if settings.redis_url is None:
        return Check("ok", "redis", "not configured, which is enough for one server process")
    from redis.asyncio import Redis  # noqa: PLC0415 - only where there is one

    where = without_password(settings.redis_url)
    started = time.perf_counter()
    client = Redis.from_url(settings.redis_url, socket_timeout=PROBE_SECONDS, socket_connect_timeout=PROBE_SECONDS)
    try:
        information = await client.info("server")
    except Exception as error:  # noqa: BLE001 - as for the database
        return Check("fail", "redis", f"{where} does not answer: {_short(error)}", "start it, or correct redis.url")
    finally:
        await client.aclose()
    return Check("ok", "redis", f"Redis {information['redis_version']} at {where}, {_milliseconds(started)}")


async def _broker(settings: Settings) -> Check:
    tasks = settings.tasks
    if tasks.runner != "celery" or tasks.broker_url is None:
        where = "beside the requests" if tasks.runner == "embedded" else "by `courtyard worker`"
        return Check("ok", "broker", f"none is needed: tasks are run {where}, out of the database")
    url = without_password(tasks.broker_url.get_secret_value())
    started = time.perf_counter()
    try:
        async with asyncio.timeout(PROBE_SECONDS + tasks.broker_timeout_seconds):
            await asyncio.to_thread(_ask_broker, settings)
    except ImportError as error:
        return Check("fail", "broker", f"Celery cannot be loaded: {_short(error)}", "install courtyard[celery]")
    except Exception as error:  # noqa: BLE001 - each transport has errors of its own
        mend = "start it, or correct tasks.broker_url; tasks wait in the database until then"
        return Check("fail", "broker", f"{url} does not answer: {_short(error)}", mend)
    return Check("ok", "broker", f"{'RabbitMQ' if tasks.is_rabbitmq else 'Redis'} at {url}, {_milliseconds(started)}")


def _ask_broker(settings: Settings) -> None:
    from courtyard.kernel.tasks import celery_app  # noqa: PLC0415 - only where there is one

    with celery_app(settings, []).connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, timeout=settings.tasks.broker_timeout_seconds)
        # Redis is reached by what is sent through the connection.
        connection.default_channel.close()


async def _storage(settings: Settings) -> Check:
    from courtyard.kernel.storage import open_storage  # noqa: PLC0415 - slow

    storage, path = settings.files.storage, settings.files_path
    is_local = storage.kind == "local"
    if is_local and not path.exists():
        return Check("ok", "storage", f"{path} is made at the first upload")
    where = str(path) if is_local else f"{storage.kind}, {storage.bucket} at {storage.endpoint or 'its own address'}"
    at_once = storage.model_copy(update={"retry_seconds": 0, "timeout_seconds": PROBE_SECONDS})
    started = time.perf_counter()
    # What exactly is wrong is in the log alone: clients are not to be told.
    with capture_logs() as said:
        try:
            async with asyncio.timeout(2 * PROBE_SECONDS):
                await open_storage(at_once, path).check()
        except Exception as error:  # noqa: BLE001 - as for the database
            reason = next((str(line["error"]).splitlines()[0] for line in said if "error" in line), _short(error))
            mend = "make it writable" if is_local else "correct files.storage, or the rights on the bucket"
            return Check("fail", "storage", f"{where} does not keep what is stored: {reason}", mend)
    return Check("ok", "storage", f"{where} keeps what is stored, {_milliseconds(started)}")


async def _mail(settings: Settings) -> Check:
    if settings.mail.transport == "smtp":
        return await _mail_server(settings.mail.smtp)
    if settings.production:
        return Check(
            "warn",
            "mail",
            "written into the outbox, where nobody who is meant reads it",
            "set mail.transport to smtp",
        )
    return Check("ok", "mail", "written into the outbox (`courtyard mail outbox`)")


async def _mail_server(smtp: SmtpSettings) -> Check:
    """Connect, and log in where that is configured, as for a mail, and send none."""
    import aiosmtplib  # noqa: PLC0415 - only where there is one

    where, started = f"{smtp.host}:{smtp.port}", time.perf_counter()
    client = aiosmtplib.SMTP(
        hostname=smtp.host,
        port=smtp.port,
        username=smtp.username,
        password=None if smtp.password is None else smtp.password.get_secret_value(),
        use_tls=smtp.security == "tls",
        start_tls=smtp.security == "starttls",
        local_hostname=socket.gethostname(),
        timeout=PROBE_SECONDS,
    )
    try:
        async with client:
            pass
    except aiosmtplib.SMTPAuthenticationError as error:
        mend = "correct mail.smtp.username and mail.smtp.password"
        return Check("fail", "mail", f"{where} refuses the login: {error.code} {error.message}", mend)
    except Exception as error:  # noqa: BLE001 - as for the database
        cause = error.__cause__ if isinstance(error.__cause__, ssl.SSLError) else error
        mend = "start it, or correct mail.smtp; mail waits until then"
        if isinstance(cause, ssl.SSLError):
            mend = "correct mail.smtp.security or mail.smtp.host, or have the server's certificate renewed"
        return Check("fail", "mail", f"{where} does not answer: {_short(cause)}", mend)
    tries = "`courtyard mail test ADDRESS` sends one"
    return Check("ok", "mail", f"{where} takes mail from here ({smtp.security}), {_milliseconds(started)}; {tries}")


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _milliseconds(started: float) -> str:
    return f"{(time.perf_counter() - started) * 1000:.1f} ms"


def _short(error: Exception) -> str:
    """Return the first line of an error, or its kind where it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
