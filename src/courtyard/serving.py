"""How `courtyard serve` listens: one socket, bound before anything else, and uvicorn behind it."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import tempfile

from courtyard.kernel.settings import Settings, load_settings

APPLICATION = "courtyard.server:create_app"
BACKLOG = 2_048
# What Socket.IO and Engine.IO put around a message.
ENVELOPE_BYTES = 1_024
STARTUP_FAILED = 3


def serve(host: str | None, port: int | None, workers: int | None) -> int:
    """Run the server until it is told to stop, and return the exit status.

    What is given here goes before the settings, for worker processes too.

    Raises:
        SettingsError: the settings, or the state of a database, do not allow a start.
        OSError: the port is taken, or the host is not this machine.
    """
    server = {"host": host, "port": port, "workers": workers}
    settings = load_settings(server={name: value for name, value in server.items() if value is not None})
    with listen(settings.server.host, settings.server.port) as listener:
        # The application, in this process or in a worker, reads the settings again. It must find what was
        # chosen here, and the port that was found if any would do.
        chosen = {**server, "port": listener.getsockname()[1]}
        variables = {f"COURTYARD_SERVER__{name.upper()}": str(value) for name, value in chosen.items() if value}
        os.environ.update(variables)
        settings = load_settings()
        _prepare(settings)
        return _run(settings, listener)


def _prepare(settings: Settings) -> None:
    """Bring the databases up to date, once for all workers, so that what is in the way is told once as well."""
    # Imported here: to see that a port is taken needs no server.
    from courtyard.server import prepare  # noqa: PLC0415

    asyncio.run(prepare(settings))


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens already, so that a second server finds the port taken from now on.

    Connections wait in the queue until the application is ready.

    Raises:
        OSError: with the address in its text.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # A name such as localhost has an address of each kind: IPv4 is the one that everything tries.
        family, kind, protocol, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
        with contextlib.ExitStack() as undo:
            listener = undo.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
            undo.pop_all()
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {host} port {port}: {error.strerror}") from error
    listener.set_inheritable(True)
    return listener


def _run(settings: Settings, listener: socket.socket) -> int:
    # Imported here: to see that a port is taken needs no web server.
    import uvicorn  # noqa: PLC0415
    from uvicorn.supervisors import Multiprocess  # noqa: PLC0415

    server = settings.server
    config = uvicorn.Config(
        APPLICATION,
        factory=True,
        host=server.host,
        port=server.port,
        workers=server.workers,
        loop="uvloop",
        http="httptools",
        ws="courtyard.kernel.realtime.wire:FrameProtocol",
        ws_max_size=settings.realtime.max_message_bytes + ENVELOPE_BYTES,
        # Engine.IO has its own pings, and compression costs more memory per connection than it saves.
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        # Whose word is taken for the address of a client is decided in one place (`kernel/proxies.py`).
        proxy_headers=False,
        limit_concurrency=server.max_connections,
        backlog=BACKLOG,
        timeout_keep_alive=server.keep_alive_seconds,
        timeout_graceful_shutdown=server.shutdown_timeout_seconds,
    )
    if settings.log_format == "console":
        sys.stderr.write(f"Courtyard is starting at {settings.public_url} ({server.host} port {server.port})\n")
    # uvicorn stops in good order, then hands the signal back. Having done what it asked for is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if server.workers == 1:
        web_server = uvicorn.Server(config)
        web_server.run(sockets=[listener])
        return 0 if web_server.started else STARTUP_FAILED
    # Imported here: what the workers tell each other is known where there are any.
    from courtyard.site.workers import FOLDER  # noqa: PLC0415

    supervisor = Multiprocess(config, sockets=[listener])
    with tempfile.TemporaryDirectory(prefix="courtyard-") as folder:
        os.environ[FOLDER] = folder
        supervisor.run()
    return STARTUP_FAILED if any(process.exitcode == STARTUP_FAILED for process in supervisor.processes) else 0
