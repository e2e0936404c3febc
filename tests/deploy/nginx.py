"""A real nginx in front of real server processes, configured from the template in `deploy/`."""

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import httpx2
from typing_extensions import override

from tests.processes import Process, free_port
from tests.services import missing

TEMPLATE = Path(__file__).parents[2] / "deploy" / "nginx" / "courtyard.conf.template"
MAIN = """\
daemon off;
master_process on;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/courtyard.conf;
}}
"""


def filled(values: dict[str, str]) -> str:
    """Return the template with its variables filled in, as the container of nginx does it."""
    text = TEMPLATE.read_text()
    for name, value in values.items():
        text = text.replace(f"${{{name}}}", value)
    return text


class Nginx(Process):
    """nginx in front of servers.

    Attributes:
        url: where it listens, without a slash at the end.
    """

    def __init__(self, folder: Path, ports: Sequence[int], *, body: str = "2m") -> None:
        program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
        if program is None:
            missing("nginx", "not installed (make services)")
        folder.mkdir(exist_ok=True)
        # Its workers are other people where root starts it.
        folder.chmod(0o755)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        servers = " ".join(f"server 127.0.0.1:{each} max_fails=1 fail_timeout=2s;" for each in ports)
        values = {"COURTYARD_LISTEN": f"127.0.0.1:{port}", "COURTYARD_SERVERS": servers, "COURTYARD_BODY": body}
        (folder / "courtyard.conf").write_text(filled(values))
        user = f"user {os.environ.get('USER', 'root')};\n" if os.getuid() == 0 else ""
        (folder / "nginx.conf").write_text(user + MAIN.format(folder=folder))
        self.check = [program, "-t", "-q", "-e", "stderr", "-c", str(folder / "nginx.conf")]
        super().__init__([program, "-e", "stderr", "-c", str(folder / "nginx.conf")], folder / "nginx.log")

    @override
    async def start(self) -> None:
        """Start it, and return when it answers, whatever it says."""
        await super().start()
        async with asyncio.timeout(10), httpx2.AsyncClient(trust_env=False) as client:
            while True:
                assert self.runs, self.output.read_text()
                try:
                    await client.get(f"{self.url}/metrics")
                except httpx2.TransportError:
                    await asyncio.sleep(0.02)
                else:
                    return
