"""Files of a gigabyte through the server: how quickly they come, and what memory that takes."""

from __future__ import annotations

import getpass
import http.client
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.bench import Bench
from benchmarks.contest import CPU, OURS, Bar, BenchmarkError, Contestant, Reading, Work
from benchmarks.courtyard import API, WORKSPACE, Courtyard
from benchmarks.files_application import installed
from benchmarks.http_load import fetch, request
from benchmarks.process import ServerProcess, free_port, serving

NGINX: Final = "nginx"
SIZE: Final = 1 << 30
PART: Final = 1 << 20
MIB: Final = float(1 << 20)
CONFIGURATION: Final = """\
daemon off;
user {user};
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/root;
        client_body_temp_path {folder}/body;
        proxy_temp_path {folder}/proxy;
        fastcgi_temp_path {folder}/fastcgi;
        uwsgi_temp_path {folder}/uwsgi;
        scgi_temp_path {folder}/scgi;
    }}
}}
"""


def receive(port: int, message: bytes, buffer: bytearray) -> int:
    """Send one request and read the whole answer; return how many bytes of body came."""
    view = memoryview(buffer)
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(message)
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(65_536)
        status, _, _ = head.partition(b"\r\n")
        if b" 200 " not in status:
            raise BenchmarkError(head[:500].decode(errors="replace"))
        received = len(head.partition(b"\r\n\r\n")[2])
        while received < SIZE:
            count = client.recv_into(view)
            if not count:
                break
            received += count
    return received


def measured(server: ServerProcess, message: bytes) -> Reading:
    """Download once for the caches, then once for the clock."""
    buffer = bytearray(PART)
    receive(server.port, message, buffer)
    resident, cpu, started = server.resident_bytes(), server.cpu_seconds(), time.perf_counter()
    if receive(server.port, message, buffer) != SIZE:
        raise BenchmarkError("the download is not whole")
    seconds = time.perf_counter() - started
    return {
        "MiB/s": SIZE / MIB / seconds,
        "more MiB": (server.resident_bytes() - resident) / MIB,
        CPU: (server.cpu_seconds() - cpu) * 1_000,
    }


@cache
def installation(bench_directory: Path) -> Courtyard:
    """Return Courtyard as it comes, with an application that takes any file."""
    made = Courtyard.prepared(bench_directory / "files", database=None)
    return replace(made, environment={**made.environment, **installed(bench_directory / "files-application")})


def upload(port: int, token: str) -> tuple[str, float]:
    """Upload a gigabyte; return its id, and the seconds that it took."""
    head = (
        f"POST {API}/workspaces/{WORKSPACE}/files?kind=big_files.any HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: {SIZE}\r\n\r\n"
    )
    part = b"\0\1\2\3" * (PART // 4)
    started = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(head.encode())
        for _ in range(SIZE // PART):
            client.sendall(part)
        answer = b""
        while some := client.recv(65_536):
            answer += some
    seconds = time.perf_counter() - started
    if b" 201 " not in answer.partition(b"\r\n")[0]:
        raise BenchmarkError(answer[:500].decode(errors="replace"))
    return msgspec.json.decode(answer.partition(b"\r\n\r\n")[2])["id"], seconds


def remove(port: int, token: str, file_id: str) -> None:
    """Remove a file, so that the next round has room."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    path = f"{API}/workspaces/{WORKSPACE}/files/{file_id}"
    connection.request("DELETE", path, headers={"Authorization": f"Bearer {token}"})
    connection.getresponse().read()
    connection.close()


def ours_up(bench: Bench) -> Reading:
    """Upload a gigabyte."""
    with installation(bench.directory).running() as live:
        token = live.seats[0].token or ""
        fetch(live.process.port, request("GET", f"{API}/workspaces/{WORKSPACE}/chat/conversations", token=token))
        resident, cpu = live.process.resident_bytes(), live.process.cpu_seconds()
        file_id, seconds = upload(live.process.port, token)
        reading = {
            "MiB/s": SIZE / MIB / seconds,
            "more MiB": (live.process.resident_bytes() - resident) / MIB,
            CPU: (live.process.cpu_seconds() - cpu) * 1_000,
        }
        remove(live.process.port, token, file_id)
    return reading


def ours_down(bench: Bench) -> Reading:
    """Download a gigabyte, whose rights are asked for."""
    with installation(bench.directory).running() as live:
        token = live.seats[0].token or ""
        file_id, _ = upload(live.process.port, token)
        path = f"{API}/workspaces/{WORKSPACE}/files/{file_id}"
        reading = measured(live.process, request("GET", f"{path}/content", token=token))
        remove(live.process.port, token, file_id)
    return reading


@contextmanager
def nginx(folder: Path) -> Iterator[ServerProcess]:
    """Run nginx over a folder with a file of a gigabyte."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(program).exists():
        raise BenchmarkError("nginx is missing. On Debian or Ubuntu: apt-get install nginx-light")
    root = folder / "root"
    if not root.exists():
        root.mkdir(parents=True)
        with (root / "file").open("wb") as file:
            for _ in range(SIZE // PART):
                file.write(b"\0\1\2\3" * (PART // 4))
    port = free_port()
    (folder / "nginx.conf").write_text(CONFIGURATION.format(folder=folder, port=port, user=getpass.getuser()))
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with serving(command, port=port, log=folder / "nginx.log") as process:
        yield process


def nginx_down(bench: Bench) -> Reading:
    """Download a gigabyte that anybody may have."""
    with nginx(bench.directory / "nginx") as process:
        return measured(process, b"GET /file HTTP/1.1\r\nHost: bench\r\n\r\n")


DOWN: Final[dict[str, Contestant]] = {OURS: ours_down, NGINX: nginx_down}
WORKS: Final = (
    Work(
        "download 1 GiB",
        DOWN,
        (Bar("MiB/s", peer=NGINX, at_least=0.5), Bar("more MiB", at_most=64, of=max)),
    ),
    Work("upload 1 GiB", {OURS: ours_up}, (Bar("MiB/s"), Bar("more MiB", at_most=64, of=max))),
)
