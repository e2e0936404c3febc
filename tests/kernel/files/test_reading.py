"""Who reads a file, which part of it, and by which link."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import UUID, uuid4

import httpx2
import pytest

from courtyard.kernel.errors import InvalidInput
from courtyard.kernel.files import files_of
from tests.factories import Person, ok, problem
from tests.kernel.files.conftest import PAPER, SECRET, Files, FilesFactory
from tests.running import MovableClock

CONTENT = bytes(range(256)) * 20
# The smallest GIF there is.
DOT = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")


async def content(
    files: Files, file: dict[str, Any], person: Person | None = None, /, **headers: str
) -> httpx2.Response:
    http = (person or files.owner).http
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return await http.get(f"{files.path}/{file['id']}/content", headers=names)


# -------------------------------------------------------------------------------------------------------- rights


async def test_a_file_that_is_part_of_nothing_is_its_owners(files: Files) -> None:
    file, member = await files.upload(CONTENT), await files.make.member(files.workspace, "administrator")
    for path in (f"{files.path}/{file['id']}", f"{files.path}/{file['id']}/content"):
        problem(await member.http.get(path), 404, "not_found")
        problem(await files.make.nobody.get(path), 401, "unauthenticated")
    problem(await member.http.post(f"{files.path}/{file['id']}/links", json={}), 404, "not_found")
    problem(await member.http.delete(f"{files.path}/{file['id']}"), 404, "not_found")


async def test_who_sees_the_thing_reads_its_files_and_nobody_else(files: Files) -> None:
    reader, other = await files.make.visitor(), await files.make.member(files.workspace)
    file = await files.upload(CONTENT)
    page_id = await files.put_on_page(file["id"], readers={reader.id})
    assert (await content(files, file, reader)).content == CONTENT
    problem(await content(files, file, other), 404, "not_found")
    # The owner has given it away.
    problem(await content(files, file), 404, "not_found")
    await files.remove_page(page_id)
    problem(await content(files, file, reader), 404, "not_found")


async def test_ids_of_another_workspace_lead_nowhere(files: Files) -> None:
    file, elsewhere = await files.upload(CONTENT), await files.make.workspace(owner=files.owner)
    for path in ("", "/content"):
        problem(await files.owner.http.get(f"{elsewhere.path}/files/{file['id']}{path}"), 404, "not_found")
    link = ok(await files.owner.http.post(f"{files.path}/{file['id']}/links", json={}))
    moved = link["url"].replace(str(files.workspace.id), str(elsewhere.id))
    problem(await files.make.nobody.get(moved), 403, "link_invalid")


async def test_only_own_files_of_the_kind_become_part_of_a_thing_and_once(files: Files) -> None:
    member = await files.make.member(files.workspace)
    mine, foreign = await files.upload(b"mine"), await files.upload(b"foreign", person=member)
    secret = await files.upload(b"secret", kind="album.secret")
    for wrong in (foreign["id"], secret["id"], str(uuid4())):
        with pytest.raises(InvalidInput):
            await files.put_on_page(mine["id"], wrong, readers=set())
    page_id = await files.put_on_page(mine["id"], mine["id"], readers={files.owner.id})
    with pytest.raises(InvalidInput):
        await files.put_on_page(mine["id"], readers=set())
    context = await files.context()
    found = await files_of(context.outside(), PAPER, [page_id, UUID(int=7)])
    assert {page: [str(file.id) for file in each] for page, each in found.items()} == {page_id: [mine["id"]]}
    assert await files_of(context.outside(), SECRET, [page_id]) == {}
    problem(await files.owner.http.delete(f"{files.path}/{mine['id']}"), 409, "file_attached")


# -------------------------------------------------------------------------------------------------------- ranges


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [("bytes=0-0", 0, 0), ("bytes=5-", 5, 5119), ("bytes=-7", 5113, 5119), ("bytes=5000-999999", 5000, 5119),
     ("bytes=-999999", 0, 5119), ("bytes=100-199", 100, 199)],
)  # fmt: skip
async def test_a_range_is_answered_in_part(files: Files, header: str, first: int, last: int) -> None:
    answer = await content(files, await files.upload(CONTENT), range=header)
    assert (answer.status_code, answer.content) == (206, CONTENT[first : last + 1])
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(CONTENT)}"


@pytest.mark.parametrize(
    "header",
    [
        "bytes=5-1",
        "bytes=a-b",
        "bytes=-",
        "lines=1-2",
        "bytes=0-1,5-6",
        "bytes=" + "0-," * 2_000,
        "bytes=0-" + "9" * 30,
    ],
)
async def test_what_is_no_single_range_is_answered_whole(files: Files, header: str) -> None:
    answer = await content(files, await files.upload(CONTENT), range=header)
    assert (answer.status_code, answer.content) == (200, CONTENT)


@pytest.mark.parametrize("header", ["bytes=5120-", "bytes=999999999999999999-", "bytes=-0"])
async def test_what_is_behind_the_end_is_refused(files: Files, header: str) -> None:
    answer = await content(files, await files.upload(CONTENT), range=header)
    problem(answer, 416, "range_not_satisfiable")
    assert answer.headers["content-range"] == "bytes */5120"


async def test_who_has_it_is_not_sent_it_again(files: Files) -> None:
    file = await files.upload(CONTENT)
    first = await content(files, file)
    assert first.headers["cache-control"] == "private, no-cache"
    etag, modified = first.headers["etag"], first.headers["last-modified"]
    later = format_datetime(parsedate_to_datetime(modified) + timedelta(hours=1), usegmt=True)
    known: dict[str, str]
    for known in ({"if_none_match": etag}, {"if_none_match": f'"x", W/{etag}'}, {"if_modified_since": later}):
        again = await content(files, file, None, **known)
        assert (again.status_code, again.content) == (304, b"")
    assert (await content(files, file, if_none_match='"x"', if_modified_since=later)).status_code == 200
    assert (await content(files, file, if_modified_since="no date")).status_code == 200


async def test_a_download_goes_on_only_with_the_same_file(files: Files) -> None:
    file = await files.upload(CONTENT)
    first = await content(files, file)
    for same in (first.headers["etag"], first.headers["last-modified"]):
        assert (await content(files, file, range="bytes=9-", if_range=same)).status_code == 206
    for other in (
        '"x"',
        "W/" + first.headers["etag"],
        format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True),
        "x",
    ):
        assert (await content(files, file, range="bytes=9-", if_range=other)).status_code == 200


async def test_what_stands_before_the_content_can_be_had_alone(files: Files) -> None:
    """HEAD answers as GET does, but for the body; ranges are of GET alone (RFC 9110, sections 9.3.2 and 14.2)."""
    file = await files.upload(CONTENT)
    link = ok(await files.owner.http.post(f"{files.path}/{file['id']}/links", json={}))["url"]
    address = f"{files.server.url}/api/v1{files.path}/{file['id']}"
    own = {"x-request-id", "date"}
    # Over the wire, one connection: a byte too many would be taken for the next answer.
    async with files.server.network_client(headers=files.owner.headers) as http:
        for url in (f"{address}/content", link, address):
            for condition in ({}, {"range": "bytes=5-9"}, {"if-none-match": "*"}, {"range": "bytes=999999-"}):
                head = await http.head(url, headers=condition)
                get = await http.get(url, headers={name: condition[name] for name in condition if name != "range"})
                assert (head.status_code, head.content) == (get.status_code, b"")
                left, right = [
                    {name: value for name, value in answer.headers.items() if name not in own} for answer in (head, get)
                ]
                # What is left of the time of a link, in seconds.
                left.pop("cache-control", None), right.pop("cache-control", None)
                assert left == right
        assert (await http.head(f"{address}/content")).headers["content-length"] == str(len(CONTENT))
        assert (await http.head(f"{address}0/content")).status_code == 404
    assert (await files.make.nobody.head(f"{files.path}/{file['id']}/content")).status_code == 401


# ------------------------------------------------------------------------------------------------- what browsers do


@pytest.mark.parametrize(
    ("body", "name", "content_type", "shown"),
    [
        (b"plain text", "a.txt", "text/plain; charset=utf-8", "inline"),
        (b"<!doctype html><script>1</script>", "a.html", "text/html; charset=utf-8", "attachment"),
        (b"<svg xmlns='x' onload='1'/>", "a.svg", "image/svg+xml", "attachment"),
        (DOT, "a.gif", "image/gif", "inline"),
        (b"%PDF-1.7 x", "a.pdf", "application/pdf", "inline"),
        (b"PK\x03\x04" + bytes(40), "a.zip", "application/zip", "attachment"),
        (b"GIF89a<script>alert(1)</script>", "a.gif", "text/html; charset=utf-8", "attachment"),
    ],
)
async def test_nothing_in_a_file_runs(files: Files, body: bytes, name: str, content_type: str, shown: str) -> None:
    answer = await content(files, await files.upload(body, name=name, headers={"content-type": "text/html"}))
    assert answer.headers["content-type"] == content_type
    assert answer.headers["content-disposition"] == f'{shown}; filename="{name}"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    policies = answer.headers.get_list("content-security-policy")
    assert any("default-src 'none'" in policy for policy in policies)
    assert any(policy.startswith("sandbox") for policy in policies) == (name != "a.pdf")


async def test_names_in_any_script_reach_the_browser(files: Files) -> None:
    answer = await content(files, await files.upload(b"x", name='smörgås "日本".txt'))
    assert answer.headers["content-disposition"] == (
        "inline; filename=\"sm_rg_s ____.txt\"; filename*=UTF-8''sm%C3%B6rg%C3%A5s%20%22%E6%97%A5%E6%9C%AC%22.txt"
    )


# --------------------------------------------------------------------------------------------------------- links


async def test_a_link_is_good_for_anybody_and_for_a_while(files_on: FilesFactory, clock: MovableClock) -> None:
    files = await files_on(clock=clock)
    file = await files.upload(CONTENT)
    await files.put_on_page(file["id"], readers={files.owner.id})
    link = ok(await files.owner.http.post(f"{files.path}/{file['id']}/links", json={"seconds": 60}))
    answer = await files.make.nobody.get(link["url"], headers={"range": "bytes=0-9"})
    assert (answer.status_code, answer.content) == (206, CONTENT[:10])
    assert answer.headers["cache-control"].startswith("private, max-age=")
    clock.move(seconds=61)
    problem(await files.make.nobody.get(link["url"]), 403, "link_invalid")


async def test_a_link_is_not_to_be_changed(files: Files) -> None:
    first, second = await files.upload(CONTENT), await files.upload(b"second")
    link = ok(await files.owner.http.post(f"{files.path}/{first['id']}/links", json={}))
    address = urlsplit(link["url"])
    query = {name: values[0] for name, values in parse_qs(address.query).items()}
    changes: list[dict[str, str]] = [
        {"expires": str(int(query["expires"]) + 1)},
        {"signature": query["signature"][:-2] + "AA"},
        {"signature": "A"},
        {"thumbnail": "small"},
    ]
    for change in changes:
        changed = f"{address.path}?{urlencode({**query, **change})}"
        problem(await files.make.nobody.get(files.server.url + changed), 403, "link_invalid")
    other = link["url"].replace(first["id"], second["id"])
    problem(await files.make.nobody.get(other), 403, "link_invalid")
    ok(await files.owner.http.delete(f"{files.path}/{first['id']}"))
    problem(await files.make.nobody.get(link["url"]), 404, "not_found")


async def test_a_link_is_not_good_for_longer_than_the_settings_say(files_on: FilesFactory) -> None:
    files = await files_on(files={"link_seconds": 30})
    file = await files.upload(CONTENT)
    link = ok(await files.owner.http.post(f"{files.path}/{file['id']}/links", json={"seconds": 86_400}))
    assert datetime.fromisoformat(link["expires_at"]) <= datetime.now(UTC) + timedelta(seconds=31)


async def test_a_file_that_the_storage_has_lost_is_unavailable(files: Files) -> None:
    file = await files.upload(CONTENT)
    await (await files.storage()).remove(await files.keys())
    problem(await content(files, file), 503, "storage_unavailable")
