"""Uploads: what is taken in, what is refused, and what is left of it."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import httpx2
import msgspec
import pytest

from courtyard.kernel.context import Context
from courtyard.kernel.database import DatabaseUnavailable
from courtyard.kernel.files import store
from courtyard.kernel.files.queries import of_upload
from courtyard.kernel.files.rules import key_of
from courtyard.kernel.files.tasks import Sweeper
from tests.entries import entries
from tests.factories import ok, problem
from tests.kernel.files.conftest import MIB, Files, FilesFactory
from tests.running import MovableClock

PART = b'--x\r\nContent-Disposition: form-data; name=a; filename="b"\r\n\r\n1\r\n'
TWO_FILES = PART + PART + b"--x--\r\n"


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return when something holds."""
    async with asyncio.timeout(10):
        while not await condition():  # noqa: ASYNC110 - it stands in a database
            await asyncio.sleep(0.01)


async def test_a_file_comes_back_as_it_went_in(files: Files) -> None:
    content = bytes(range(256)) * 5_000
    file = await files.upload(content, name="Holiday in Å.bin")
    assert file["size_bytes"] == len(content)
    assert file["sha256"] == hashlib.sha256(content).hexdigest()
    assert (file["name"], file["content_type"]) == ("Holiday in Å.bin", "application/octet-stream")
    assert ok(await files.owner.http.get(f"{files.path}/{file['id']}")) == file
    answer = await files.owner.http.get(f"{files.path}/{file['id']}/content")
    assert answer.content == content
    assert await files.used() == len(content)


async def test_the_audit_log_tells_of_an_upload_and_of_a_removal(files: Files) -> None:
    uploaded = await files.owner.http.post(files.path, params={"kind": "album.paper", "name": "a.txt"}, content=b"text")
    file = ok(uploaded)
    told = await entries(files.make, uploaded)
    assert set(told) == {"files:file:created", "files:file:updated"}
    for entry in told.values():
        assert (entry.actor_id, entry.workspace_id) == (files.owner.id, files.workspace.id)
        assert entry.object_id == file["id"]
    created, ready = (msgspec.json.decode(told[f"files:file:{each}"].after or "") for each in ("created", "updated"))
    assert (created["name"], created["kind"], created["state"]) == ("a.txt", "album.paper", "uploading")
    assert ready["state"] == "ready"
    removed = await files.owner.http.delete(f"{files.path}/{file['id']}")
    told = await entries(files.make, removed)
    assert set(told) == {"files:file:updated"}
    assert msgspec.json.decode(told["files:file:updated"].after or "")["state"] == "removed"


async def test_a_form_with_a_file_is_taken(files: Files) -> None:
    form: dict[str, Any] = {"files": {"upload": ("notes.csv", b"a,b\n1,2\n", "text/csv")}, "data": {"other": "field"}}
    file = ok(await files.owner.http.post(files.path, params={"kind": "album.paper"}, **form))
    assert (file["name"], file["content_type"], file["size_bytes"]) == ("notes.csv", "text/csv", 8)
    content = await files.owner.http.get(f"{files.path}/{file['id']}/content")
    assert (content.content, content.headers["content-type"]) == (b"a,b\n1,2\n", "text/csv; charset=utf-8")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form",
        b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nonly text\r\n--x--\r\n",
        b'--x\r\nContent-Disposition: form-data; name=a; filename="b"\r\n\r\nends too early',
        TWO_FILES,
    ],
)
async def test_a_form_that_is_none_is_refused_and_leaves_nothing(files: Files, body: bytes) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = await files.owner.http.post(files.path, params={"kind": "album.paper"}, content=body, headers=headers)
    problem(answer, 400, "invalid_input")
    assert (await files.keys(), await files.used()) == ([], 0)


async def test_an_empty_file_is_a_file(files: Files) -> None:
    file = await files.upload(b"", name="")
    assert (file["size_bytes"], file["name"]) == (0, "file")
    assert (await files.owner.http.get(f"{files.path}/{file['id']}/content")).content == b""


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(65_536)


async def test_what_is_too_long_is_refused_as_soon_as_it_is(files: Files) -> None:
    said = await files.owner.http.post(files.path, params={"kind": "album.paper"}, content=bytes(5 * MIB))
    assert problem(said, 413, "content_too_large")["max_bytes"] == 4 * MIB
    unsaid = await files.owner.http.post(files.path, params={"kind": "album.paper"}, content=endless())
    problem(unsaid, 413, "content_too_large")
    assert (await files.keys(), await files.used()) == ([], 0)


async def test_the_type_is_that_of_the_content(files: Files) -> None:
    http, params = files.owner.http, {"kind": "album.picture", "name": "a.png"}
    for content in (b"<html><script>alert(1)</script>", b"%PDF-1.7", b"MZ" + bytes(99), b"<svg onload='x'></svg>"):
        answer = await http.post(files.path, params=params, content=content, headers={"content-type": "image/png"})
        refused = problem(answer, 415, "file_type_refused")
        assert refused["accepted"] == ["image/*"]
    assert await files.keys() == []


async def test_a_kind_asks_for_its_own_permission(files: Files) -> None:
    member = await files.make.member(files.workspace)
    params = {"kind": "album.secret"}
    problem(await member.http.post(files.path, params=params, content=b"x"), 403, "forbidden")
    unknown = await files.owner.http.post(files.path, params={"kind": "album.nothing"}, content=b"x")
    assert problem(unknown, 400, "unknown_file_kind")["errors"][0]["parameter"] == "kind"
    problem(await files.make.nobody.post(files.path, params=params, content=b"x"), 401, "unauthenticated")
    ok(await files.owner.http.post(files.path, params=params, content=b"x"))


async def test_the_same_upload_twice_makes_one_file(files: Files) -> None:
    headers = {"idempotency-key": str(uuid4())}
    first = await files.upload(b"the same", headers=headers)
    again = await files.owner.http.post(
        files.path, params={"kind": "album.paper"}, content=b"the same", headers=headers
    )
    assert (ok(again), again.headers["idempotent-replayed"]) == (first, "true")
    other = await files.owner.http.post(files.path, params={"kind": "album.paper"}, content=b"another", headers=headers)
    problem(other, 422, "idempotency_key_reused")
    assert (len(await files.keys()), await files.used()) == (1, 8)


async def test_the_same_upload_at_once_makes_one_file(files: Files) -> None:
    headers, begun = {"idempotency-key": str(uuid4())}, asyncio.Event()
    go_on = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        # Longer than the first bytes, by which the type is known and the row is written.
        yield bytes(MIB)
        begun.set()
        await go_on.wait()
        yield b"end"

    async with files.server.network_client(base_url=files.server.url + "/api/v1", headers=files.owner.headers) as http:
        first = asyncio.create_task(
            http.post(files.path, params={"kind": "album.paper"}, content=slow(), headers=headers)
        )
        await begun.wait()

        async def is_known() -> bool:
            context = await files.context()
            return await of_upload(context.outside(), headers["idempotency-key"]) is not None

        await until(is_known)
        second = await files.owner.http.post(
            files.path, params={"kind": "album.paper"}, content=bytes(MIB) + b"end", headers=headers
        )
        problem(second, 409, "upload_in_progress")
        go_on.set()
        file = ok(await first)
    third = await files.owner.http.post(
        files.path, params={"kind": "album.paper"}, content=bytes(MIB) + b"end", headers=headers
    )
    assert ok(third) == file
    assert (len(await files.keys()), await files.used()) == (1, MIB + 3)


async def test_an_upload_whose_process_has_died_is_in_nobodys_way(
    files_on: FilesFactory, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody says that they are at is given up for whoever sends the same again; its bytes go with the sweep."""
    files, go_on, writing = await files_on(clock=clock), asyncio.Event(), asyncio.Event()
    monkeypatch.setattr("courtyard.kernel.files.service.uploads.BEAT_SECONDS", 0.02)
    storage, key = await files.storage(), str(uuid4())
    write = storage.write

    async def stuck(at: str, source: AsyncIterator[bytes], attributes: dict[str, str]) -> None:
        await write(at, source, attributes)
        writing.set()
        await go_on.wait()

    async def upload() -> httpx2.Response:
        return await files.owner.http.post(
            files.path, params={"kind": "album.paper"}, content=b"content", headers={"idempotency-key": key}
        )

    storage.write = stuck  # type: ignore[method-assign, assignment]
    first = asyncio.create_task(upload())
    await writing.wait()
    storage.write = write  # type: ignore[method-assign]
    clock.move(seconds=60)
    # It is at work still, and says so again in a moment.
    await asyncio.sleep(0.2)
    problem(await upload(), 409, "upload_in_progress")
    monkeypatch.setattr("courtyard.kernel.files.service.uploads.store.beat", nothing)
    clock.move(seconds=60)
    second = ok(await upload())
    go_on.set()
    problem(await first, 409, "upload_lost")
    await Sweeper(files.server.runtime).sweep()
    assert await files.keys() == [key_of(files.workspace.id, UUID(second["id"]))]
    assert await files.used() == len(b"content")
    assert ok(await upload()) == second


async def nothing(*_: object) -> None:
    """Do what a process does that is not there any more."""


async def test_a_database_that_is_away_at_the_end_is_waited_for(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it had done what it could not say any more."""
    finish, tries = store.finish, 0

    async def away_twice(context: Context, file_id: UUID, **values: Any) -> bool:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise DatabaseUnavailable
        done = await finish(context, file_id, **values)
        if tries == 2:
            await context.commit()
            raise DatabaseUnavailable
        return done

    monkeypatch.setattr(store, "finish", away_twice)
    content = bytes(MIB)
    file = await files.upload(content)
    assert tries == 3
    assert (await files.owner.http.get(f"{files.path}/{file['id']}/content")).content == content


class SlowClient:
    """A client that says how much it will send, and sends as it likes."""

    def __init__(self, files: Files) -> None:
        self._files = files

    async def begin(self, length: int) -> None:
        port = int(self._files.server.url.rpartition(":")[2])
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST /api/v1{self._files.path}?kind=album.paper HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n"
        await self.send(f"{head}Authorization: Bearer {self._files.owner.token}\r\n\r\n".encode())

    async def send(self, part: bytes) -> None:
        self._writer.write(part)
        await self._writer.drain()

    async def answer(self) -> bytes:
        """Return all that comes until the server hangs up."""
        async with asyncio.timeout(10):
            answer = await self._reader.read()
        self.leave()
        return answer

    def leave(self) -> None:
        self._writer.close()


async def test_a_client_that_leaves_leaves_nothing(files: Files) -> None:
    client = SlowClient(files)
    await client.begin(2 * MIB)
    await client.send(bytes(MIB))

    async def is_there() -> bool:
        return await files.used() > 0

    async def is_gone() -> bool:
        return await files.used() == 0

    await until(is_there)
    client.leave()
    await until(is_gone)
    assert await files.keys() == []


async def test_a_client_that_stops_sending_is_given_up(files_on: FilesFactory) -> None:
    files = await files_on(server={"request_timeout_seconds": 0.3})
    client = SlowClient(files)
    await client.begin(2 * MIB)
    await client.send(bytes(MIB))
    answer = await client.answer()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"upload_too_slow" in answer
    assert (await files.keys(), await files.used()) == ([], 0)


async def test_a_client_that_drips_is_given_up(files_on: FilesFactory) -> None:
    files = await files_on(files={"upload_seconds": 1})
    client = SlowClient(files)
    await client.begin(2 * MIB)

    async def drip() -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await client.send(bytes(1_000))
                await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    try:
        assert (await client.answer()).startswith(b"HTTP/1.1 408 ")
    finally:
        dripping.cancel()
    assert (await files.keys(), await files.used()) == ([], 0)


async def test_the_quota_of_a_workspace_holds(files_on: FilesFactory) -> None:
    files = await files_on(limits={"enabled": False, "quotas": {"files.bytes": 100_000}})
    await files.upload(bytes(60_000))
    http, params = files.owner.http, {"kind": "album.paper"}
    said = await http.post(files.path, params=params, content=bytes(60_000))
    assert problem(said, 409, "quota_exceeded")["name"] == "files.bytes"

    async def unsaid() -> AsyncIterator[bytes]:
        yield bytes(60_000)

    problem(await http.post(files.path, params=params, content=unsaid()), 409, "quota_exceeded")
    assert (len(await files.keys()), await files.used()) == (1, 60_000)
    await files.upload(bytes(40_000))


async def test_so_many_uploads_at_once_and_no_more(files_on: FilesFactory) -> None:
    files, begun, go_on = await files_on(files={"uploads": 1}), asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield bytes(MIB)
        begun.set()
        await go_on.wait()

    async with files.server.network_client(base_url=files.server.url + "/api/v1", headers=files.owner.headers) as http:
        first = asyncio.create_task(http.post(files.path, params={"kind": "album.paper"}, content=slow()))

        async def is_taken() -> bool:
            return files.server.runtime.uploads._free == 0

        await begun.wait()
        await until(is_taken)
        second = await files.owner.http.post(files.path, params={"kind": "album.paper"}, content=b"x")
        assert problem(second, 503, "too_many_uploads")
        assert second.headers["retry-after"] == "1"
        go_on.set()
        ok(await first)
    ok(await files.owner.http.post(files.path, params={"kind": "album.paper"}, content=b"x"))


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\ada\\notes.txt", "notes.txt"),
        ("..", "file"),
        (".htaccess", "htaccess"),
        ("a\r\nSet-Cookie: b.txt", "a Set-Cookie: b.txt"),
        ("photo\u202egnp.exe", "photognp.exe"),
        ("x" * 300 + ".jpeg", "x" * 195 + ".jpeg"),
        ("  spaces \t and tabs .txt", "spaces and tabs .txt"),
    ],
)
async def test_names_are_made_harmless(files: Files, name: str, kept: str) -> None:
    assert (await files.upload(b"x", name=name))["name"] == kept
