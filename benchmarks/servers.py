"""How each server is started. Every function runs one until its block is left; all but ours are written by us too."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from benchmarks.bench import Bench
from benchmarks.contest import BenchmarkError
from benchmarks.databases import CONVERSATION_IDS
from benchmarks.process import REPOSITORY, Live, Seat, free_port, serving

Server = Callable[[Bench], AbstractContextManager[Live]]

NODE_PEER: Final = REPOSITORY / "benchmarks" / "peers" / "node"
PORT: Final = "{port}"
PYTHON: Final = (sys.executable, "-m")
# What a production set-up of uvicorn with its `standard` extra chooses, and no access log.
UVICORN: Final = (
    "--loop",
    "uvloop",
    "--http",
    "httptools",
    "--no-access-log",
    "--log-level",
    "warning",
    "--port",
    PORT,
)
# 8, 16 and 32 threads differ by less than the noise.
GUNICORN: Final = ("--bind", f"127.0.0.1:{PORT}", "--worker-class", "gthread", "--workers", "1", "--threads", "16")


def courtyard(bench: Bench) -> AbstractContextManager[Live]:
    """Courtyard on PostgreSQL."""
    return bench.courtyard.running()


def _peer(*command: str, seats: Sequence[Seat] = (), environment: Callable[[Bench], Mapping[str, str]]) -> Server:
    @contextmanager
    def run(bench: Bench) -> Iterator[Live]:
        port = free_port()
        line = [part.replace(PORT, str(port)) for part in command]
        variables = {**environment(bench), "PORT": str(port)}
        with serving(line, port=port, log=bench.log, environment=variables) as process:
            yield Live(process, tuple(seats))

    return run


def _http_peer(*command: str) -> Server:
    seats = [Seat(f"/conversations/{identifier}/messages") for identifier in CONVERSATION_IDS]
    return _peer(*PYTHON, *command, seats=seats, environment=lambda bench: {"DATABASE_URL": bench.peers_database})


fastapi = _http_peer("uvicorn", "benchmarks.peers.fastapi_orm:app", *UVICORN)
flask = _http_peer("gunicorn", "benchmarks.peers.flask_orm:app", *GUNICORN, "--keep-alive", "75")
starlette = _http_peer("uvicorn", "benchmarks.peers.starlette_sql:app", *UVICORN)
python_socketio = _peer(
    *(*PYTHON, "uvicorn", "benchmarks.peers.socketio_python:app", *UVICORN, "--ws", "websockets-sansio"),
    environment=lambda _bench: {},
)
node_socketio = _peer(
    *("node", str(NODE_PEER / "fan_out.js")),
    environment=lambda _bench: {"NODE_ENV": "production"},
)


def install_node_peer() -> str:
    """Install the npm packages of the Node peer unless they are there, and return Node's version.

    Raises:
        BenchmarkError: node or npm is missing, or npm failed.
    """
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            raise BenchmarkError(f"{tool} is missing. On Debian or Ubuntu: apt-get install nodejs npm")
    if not (NODE_PEER / "node_modules" / "socket.io").exists():
        # Exact versions stand in package.json; a lock file would record where they came from.
        install = ("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts")
        installed = subprocess.run(install, cwd=NODE_PEER, capture_output=True, text=True, check=False)
        if installed.returncode:
            raise BenchmarkError(f"npm could not install the Node peer:\n{installed.stderr.strip()}")
    return subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
