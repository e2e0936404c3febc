"""Input that no good client sends, over HTTP: each is refused with a problem that says where, none is a fault."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx2
import msgspec
import pytest
from structlog.testing import capture_logs

from courtyard.kernel.http import API
from tests.factories import PASSWORD, Conversation, Factory, ok, problem
from tests.running import RunningServer
from tests.services import Kind

JSON = {"Content-Type": "application/json"}
DEEP = 100_000


@pytest.fixture(scope="module")
def conversations() -> dict[Kind, Conversation]:
    return {}


@pytest.fixture
async def conversation(conversations: dict[Kind, Conversation], database_kind: Kind, make: Factory) -> Conversation:
    """A conversation that all tests here share, because nothing ever comes of what they send."""
    if database_kind not in conversations:
        conversations[database_kind] = await make.conversation(message={"text": "hello"})
    return conversations[database_kind]


@pytest.fixture
async def http(make: Factory, conversation: Conversation) -> AsyncIterator[httpx2.AsyncClient]:
    """A client through the web server, signed in as the visitor; paths begin behind `/api/v1`."""
    base_url = f"{make.server.url}/api/v1"
    async with make.server.network_client(base_url=base_url, headers=conversation.visitor.headers) as client:
        yield client
        # Whatever came before, the server goes on.
        ok(await client.get("/me"))


def text(value: str) -> bytes:
    return b'{"text":"' + value.encode() + b'"}'


BODIES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", ""),
    "space": (b" \n\t ", ""),
    "cut off": (b'{"text":"hel', ""),
    "two values": (b'{"text":"a"}{"text":"b"}', ""),
    "trailing comma": (b'{"text":"a",}', ""),
    "single quotes": (b"{'text':'a'}", ""),
    "no quotes": (b"{text:1}", ""),
    "comment": (b'{"text":"a"}//', ""),
    "NaN": (b'{"text":NaN}', ""),
    "control character": (b'{"text":"a\nb"}', ""),
    "NUL": (b'{"text":"a"}\0', ""),
    "BOM": (b"\xef\xbb\xbf" + text("a"), ""),
    "UTF-16": ('{"text":"a"}'.encode("utf-16"), ""),
    "Latin-1": ('{"text":"ü"}'.encode("latin-1"), ""),
    "cut UTF-8": (b'{"text":"\xe2\x82"}', ""),
    "overlong UTF-8": (b'{"text":"\xc0\xaf"}', ""),
    "surrogate in UTF-8": (b'{"text":"\xed\xa0\x80"}', ""),
    "lone surrogate": (text("\\ud800"), ""),
    "reversed surrogates": (text("\\udc00\\ud800"), ""),
    "escape that there is not": (text("\\x41"), ""),
    "null": (b"null", ""),
    "number": (b"7", ""),
    "string": (b'"text"', ""),
    "list": (b'[{"text":"a"}]', ""),
    "million elements": (b"[" + b"0," * 349_999 + b"0]", ""),
    "million elements in a field": (b'{"text":[' + b"0," * 349_999 + b"0]}", "/text"),
    "deep lists": (b"[" * DEEP + b"]" * DEEP, ""),
    "deep objects": (b'{"a":' * DEEP + b"1" + b"}" * DEEP, ""),
    "deep in a field": (b'{"text":' + b"[" * DEEP + b"]" * DEEP + b"}", ""),
    "deep without end": (b"[" * DEEP, ""),
    "many fields": (b"{" + b",".join(b'"f%d":1' % n for n in range(20_000)) + b"}", ""),
    "unknown field": (b'{"text":"a","\\u0000":1}', ""),
    "prototype": (b'{"text":"a","__proto__":{"x":1}}', ""),
    "huge number": (b'{"text":' + b"9" * 10_000 + b"}", "/text"),
    "huge exponent": (b'{"text":1e999999}', ""),
    "NUL in text": (text("a\\u0000b"), "/text"),
    "only NUL": (text("\\u0000"), "/text"),
    "long text": (text("x" * 10_001), "/text"),
    "long text of many bytes": (text("🎉" * 10_001), "/text"),
    "wrong type": (b'{"text":{"$ne":null}}', "/text"),
    "boolean": (b'{"text":true}', "/text"),
    "no id": (b'{"text":"a","client_message_id":"' + b"x" * 36 + b'"}', "/client_message_id"),
    "number for an id": (b'{"text":"a","client_message_id":1}', "/client_message_id"),
}


@pytest.mark.parametrize("path", ["/sessions", "/workspaces"])
async def test_a_client_that_hangs_up_in_its_body_is_no_fault(
    http: httpx2.AsyncClient, make: Factory, path: str
) -> None:
    where = urlsplit(make.server.url)
    headers = {"Host": "localhost", "Content-Length": "50", **JSON, "Authorization": http.headers["authorization"]}
    lines = [f"POST {API}{path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", "{"]
    with capture_logs() as logs:
        _, writer = await asyncio.open_connection(where.hostname, where.port)
        writer.write("\r\n".join(lines).encode())
        await writer.drain()
        writer.close()
        async with asyncio.timeout(5):
            while not (told := [entry for entry in logs if entry["event"].startswith("http.")]):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert [(entry["event"], entry["status"]) for entry in told] == [("http.request", 400)]


@pytest.mark.parametrize("name", BODIES)
async def test_a_body_that_is_no_message_is_refused_where_it_is_wrong(
    http: httpx2.AsyncClient, conversation: Conversation, name: str
) -> None:
    body, pointer = BODIES[name]
    document = problem(await http.post(conversation.messages, content=body, headers=JSON), 400, "invalid_input")
    if pointer:
        assert [fault["pointer"] for fault in document["errors"]] == [pointer]
    else:
        # Within the body, wherever the reader was.
        assert [fault["pointer"][:1] for fault in document["errors"]] in ([""], ["/"])
    assert len(document.get("detail", "")) < 300
    assert ok(await http.get(conversation.path))["message_count"] == 1


async def test_a_million_elements_are_too_many_bytes(http: httpx2.AsyncClient, conversation: Conversation) -> None:
    body = b"[" + b"0," * 999_999 + b"0]"
    problem(await http.post(conversation.messages, content=body, headers=JSON), 413, "content_too_large")


async def test_a_name_without_a_letter_but_with_a_nul_is_refused(http: httpx2.AsyncClient) -> None:
    for name in ("\0", "a\0b", "\x7f", " \x1f "):
        document = problem(await http.patch("/me", json={"name": name}), 400, "invalid_input")
        assert [fault["pointer"] for fault in document["errors"]] == ["/name"]


async def test_of_fields_that_come_twice_the_last_counts(http: httpx2.AsyncClient, conversation: Conversation) -> None:
    """RFC 8259 leaves it open; what counts is that every reader here sees the same."""
    body = b'{"text":7,"text":"last"}'
    refused = await http.post(conversation.messages, content=body, headers=JSON)
    if refused.is_success:
        assert refused.json()["text"] == "last"
    else:
        problem(refused, 400, "invalid_input")


def cursor(value: Any) -> str:  # noqa: ANN401
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(value)).rstrip(b"=").decode()


CURSORS = {
    "empty": "",
    "no base64": "%21%21%21",
    "no letters": "AAAA",
    "cut": "k",
    "long": "A" * 301,
    "NUL": "%00",
    "not UTF-8": "%ff%fe",
    "percent": "%",
    "bad percent": "%zz",
    "words": "' OR 1=1 --",
    "map": cursor({"number": 1}),
    "string": cursor(["1"]),
    "negative": cursor([-1]),
    "too large": cursor([2**63]),
    "too many": cursor([1, 2]),
    "none": cursor([]),
    "null": cursor([None]),
    "float": cursor([1.5]),
    "deep": base64.urlsafe_b64encode(b"\x91" * 200).decode().rstrip("="),
    "long list": base64.urlsafe_b64encode(b"\xdd\xff\xff\xff\xff").decode().rstrip("="),
    "long string": base64.urlsafe_b64encode(b"\x91\xdb\xff\xff\xff\xff").decode().rstrip("="),
}


@pytest.mark.parametrize("name", CURSORS)
async def test_a_cursor_that_was_not_given_out_is_refused(
    http: httpx2.AsyncClient, conversation: Conversation, name: str
) -> None:
    for path in (conversation.messages, conversation.workspace.conversations, "/workspaces"):
        document = problem(await http.get(f"{path}?cursor={CURSORS[name]}"), 400, "invalid_input")
        assert [fault["parameter"] for fault in document["errors"]] == ["cursor"]


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]
)
async def test_a_cursor_at_the_ends_of_time_is_no_fault(
    http: httpx2.AsyncClient, conversation: Conversation, moment: str
) -> None:
    forged = cursor([moment, str(conversation.id)])
    answer = await http.get(f"{conversation.workspace.conversations}?cursor={forged}")
    if moment.endswith("Z"):
        ok(answer)
    else:
        problem(answer, 400, "invalid_input")


@pytest.mark.parametrize(
    "limit", ["0", "-1", "201", "1e2", "0x10", "1_0", "9" * 400, "%00", "%ff", "\u0661", "NaN", "true"]
)
async def test_a_limit_that_is_none_is_refused(
    http: httpx2.AsyncClient, conversation: Conversation, limit: str
) -> None:
    answer = await http.get(f"{conversation.messages}?limit={limit}")
    if not answer.is_success:
        document = problem(answer, 400, "invalid_input")
        assert [fault["parameter"] for fault in document["errors"]] == ["limit"]
    else:
        # Other ways to write a number within the bounds.
        assert limit in {"\u0661", "1_0", "1e2"}


@pytest.mark.parametrize(
    "path",
    [
        "/workspaces/%00",
        "/workspaces/%ff",
        "/workspaces/%",
        "/workspaces/%zz",
        "/workspaces/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/workspaces/../../etc/passwd",
        "/workspaces/a%0d%0ab",
        "/workspaces/" + "x" * 5_000,
        "/workspaces/' OR '1'='1",
        "/workspaces/{workspace}/chat/conversations/%00",
        "/workspaces/{workspace}/chat/conversations/0",
        "/workspaces/{workspace}/chat/conversations/ffffffff-ffff-ffff-ffff-fffffffffffff",
        "/workspaces/{workspace}/members/%ff",
        "//",
        "/%2f",
    ],
)
async def test_a_path_that_leads_nowhere(http: httpx2.AsyncClient, conversation: Conversation, path: str) -> None:
    answer = await http.get(path.replace("{workspace}", conversation.workspace.slug))
    assert answer.status_code in {400, 404}
    code = {400: "invalid_input", 404: "not_found"}[answer.status_code]
    problem(answer, answer.status_code, code)


async def test_unknown_parameters_and_odd_queries_do_no_harm(
    http: httpx2.AsyncClient, conversation: Conversation
) -> None:
    for query in ("x=1", "&&&", "=", "%00=%00", "%ff=%ff", "limit", "a[]=1&a[]=2", "limit=10&limit=20"):
        answer = await http.get(f"{conversation.messages}?{query}")
        assert answer.is_success or answer.status_code == 400


async def raw(server: RunningServer, request: bytes) -> tuple[int, bytes]:
    """Send bytes, and return the status and the body of the answer."""
    address = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(request)
    try:
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                ),
                0,
            )
            body = await reader.readexactly(length)
    finally:
        writer.close()
        await writer.wait_closed()
    return int(head.split()[1]), body


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"G\0T / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/1.1\r\nBad Header: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
        b"POST /api/v1/accounts HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/v1/accounts HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 6\r\n\r\nhello",
        b"POST /api/v1/accounts HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_refused(server: RunningServer, request_: bytes) -> None:
    """The web server itself refuses it, before there is anything that could answer with a problem."""
    status, _ = await raw(server, request_)
    assert 400 <= status < 500


async def test_header_values_may_hold_any_byte(make: Factory) -> None:
    person = await make.person()
    for name in (
        b"X-Request-ID",
        b"User-Agent",
        b"If-Match",
        b"If-None-Match",
        b"Cookie",
        b"Accept",
        b"Origin",
        b"X-Junk",
    ):
        status, body = await raw(
            make.server,
            b"GET /api/v1/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
            + person.token.encode()
            + b"\r\n"
            + name
            + b": \xff\xfe\x80;=,\"'\r\n\r\n",
        )
        assert status == 200, (name, body)


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (b"Bearer \xff\xfe", 401),
        (b"Bearer " + b"." * 10_000, 401),
        (b"Bearer " + b"a.b.c", 401),
        (b"Bearer " + base64.urlsafe_b64encode(b"{" * 4_000) + b".e30.e30", 401),
        (b"\xff", 401),
    ],
)
async def test_a_token_of_any_bytes_is_refused(server: RunningServer, value: bytes, status: int) -> None:
    found, body = await raw(server, b"GET /api/v1/me HTTP/1.1\r\nHost: x\r\nAuthorization: " + value + b"\r\n\r\n")
    assert (found, json.loads(body)["code"]) == (status, "unauthenticated")


@pytest.mark.parametrize(
    "cookie",
    [b"courtyard_access=\xff", b"courtyard_access=a.b.c", b"courtyard_access=" + b"x" * 8_000, b"courtyard_access"],
)
async def test_a_cookie_of_any_bytes_is_refused(server: RunningServer, cookie: bytes) -> None:
    found, body = await raw(server, b"GET /api/v1/me HTTP/1.1\r\nHost: x\r\nCookie: " + cookie + b"\r\n\r\n")
    assert (found, json.loads(body)["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
async def test_a_compressed_body_is_not_read(http: httpx2.AsyncClient, encoding: str) -> None:
    """Nothing here takes bodies apart, so no small one can become a large one."""
    headers = {**JSON, "Content-Encoding": encoding}
    body = base64.b64decode("H4sIAAAAAAAAA6tWKkmtKFGyUsooSi1WqgUAk2N9lw4AAAA=")
    problem(await http.post("/sessions/anonymous", content=body, headers=headers), 400, "invalid_input")


async def test_a_password_of_any_kind_is_no_fault(make: Factory) -> None:
    person = await make.person()
    for password in ("\0", "x" * 128, "🎉" * 128, "\ud7ff\ue000", PASSWORD + "\0"):
        credentials = {"email": person.email, "password": password}
        problem(await make.nobody.post("/sessions", json=credentials), 401, "wrong_credentials")
    problem(
        await make.nobody.post("/sessions", json={"email": person.email, "password": "x" * 129}), 400, "invalid_input"
    )
