"""Servers that speak the protocols of object stores, for tests: S3 (moto), the XML interface of Google, Azurite."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx2
from obstore.store import GCSStore

from courtyard.kernel.settings import StorageSettings
from courtyard.kernel.storage import ObjectStorage, Storage
from tests.processes import Process, free_port
from tests.services import missing

if TYPE_CHECKING:
    from obstore.store import GCSConfig

S3_KEYS = {"access_key_id": "test", "secret_access_key": "test"}
# Those of every Azurite, from its documentation.
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
JS = Path(__file__).parent / "kernel/storage/js"


class S3Server:
    """The server of moto, in a thread of this process.

    Attributes:
        url: where it listens.
    """

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer  # noqa: PLC0415 - takes a second, and few tests want it

        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.url = f"http://{host}:{port}"

    def stop(self) -> None:
        """End it."""
        self._server.stop()

    def bucket(self, **changes: object) -> StorageSettings:
        """Make a bucket."""
        name = f"b{uuid4().hex}"
        httpx2.put(f"{self.url}/{name}", trust_env=False).raise_for_status()
        values = {"kind": "s3", "bucket": name, "endpoint": self.url, "region": "us-east-1", **S3_KEYS, **changes}
        return StorageSettings.model_validate(values)

    def google(self) -> Storage:
        """Make a bucket that is spoken to as to one of Google.

        There is no server of theirs to install. The interface that is used, with XML, is that of S3, but for the way
        to authenticate: the token is one that moto takes for a key. What this shows is our side of the rest.
        """
        config: GCSConfig = {"base_url": self.url, "bearer_token": "test/20260101/us-east-1/s3/aws4_request"}
        store = GCSStore(self.bucket().bucket, config=config, client_options={"allow_http": True})
        return ObjectStorage(lambda: store)

    def unfinished(self, settings: StorageSettings) -> str:
        """Return what a bucket says of uploads in parts that have not ended."""
        answer = httpx2.get(f"{self.url}/{settings.bucket}?uploads", trust_env=False)
        answer.raise_for_status()
        return answer.text


@contextlib.contextmanager
def s3_server() -> Iterator[S3Server]:
    """Start a server that speaks S3."""
    server = S3Server()
    try:
        yield server
    finally:
        server.stop()


class Azurite(Process):
    """The emulator of Azure Blob.

    Attributes:
        url: where the account is.
    """

    def __init__(self, folder: Path) -> None:
        program = JS / "node_modules/azurite/dist/src/blob/main.js"
        node = shutil.which("node")
        if node is None:
            missing("Node.js", "not installed")
        if not program.exists():
            missing("Azurite", "make node installs it")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/{AZURE_ACCOUNT}"
        options = ["--blobPort", str(port), "--blobHost", "127.0.0.1", "--location", str(folder), "--silent"]
        options += ["--skipApiVersionCheck", "--disableTelemetry"]
        # It would take a variable of the machine for one of its own.
        super().__init__([node, str(program), *options], folder / "azurite.log", dict(os.environ))

    async def container(self) -> StorageSettings:
        """Make a container."""
        name = f"c-{uuid4().hex}"
        async with asyncio.timeout(30):
            while True:
                try:
                    self._make(name).raise_for_status()
                except httpx2.TransportError:
                    assert self.runs, self.output.read_text()
                    await asyncio.sleep(0.05)
                else:
                    break
        keys = {"access_key_id": AZURE_ACCOUNT, "secret_access_key": AZURE_KEY}
        return StorageSettings.model_validate({"kind": "azure", "bucket": name, "endpoint": self.url, **keys})

    def _make(self, name: str) -> httpx2.Response:
        """Ask for a container, as the documentation of Azure says it is signed (Shared Key)."""
        date = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        headers = {"x-ms-date": date, "x-ms-version": "2021-08-06", "content-length": "0"}
        told = f"x-ms-date:{date}\nx-ms-version:2021-08-06\n"
        resource = f"/{AZURE_ACCOUNT}/{AZURE_ACCOUNT}/{name}\nrestype:container"
        text = "PUT\n" + "\n" * 11 + told + resource
        digest = hmac.digest(base64.b64decode(AZURE_KEY), text.encode(), hashlib.sha256)
        headers["authorization"] = f"SharedKey {AZURE_ACCOUNT}:{base64.b64encode(digest).decode()}"
        return httpx2.put(f"{self.url}/{name}?restype=container", headers=headers, trust_env=False)
