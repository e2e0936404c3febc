"""Limits of requests: what is counted for whom, and how it is told."""

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from litestar.handlers import HTTPRouteHandler

from courtyard.kernel.accounts.limits import ENTER, LOGIN_BY_ADDRESS, LOGIN_BY_EMAIL, REFRESH, REGISTER
from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.errors import Problem
from courtyard.kernel.http import API, PUBLIC, SIGNED_IN, get, post
from courtyard.kernel.http.admission import BY_ACCOUNT, BY_ADDRESS
from courtyard.kernel.limits import Limits, Policy, TooManyRequests, declared_policies
from courtyard.kernel.schema import Input
from courtyard.kernel.settings import SettingsError
from courtyard.server import KERNEL
from tests.conftest import ServerFactory
from tests.factories import PASSWORD, Factory, Person, ok, problem, unique
from tests.processes import ServerProcess, own_redis
from tests.services import RedisSpace

# Nothing that a test does not ask for is limited.
GENEROUS = dict.fromkeys(declared_policies(KERNEL), "100000/minute")


async def limited(server_factory: ServerFactory, **policies: str) -> Factory:
    """Start a server on which these policies have these amounts (`accounts.login` as `accounts__login`)."""
    amounts = {name.replace("__", "."): text for name, text in policies.items()}
    server = await server_factory(limits={"enabled": True, "policies": {**GENEROUS, **amounts}})
    return Factory(server)


def called(policy: Policy) -> str:
    return policy.name.replace(".", "__")


async def log_in(make: Factory, body: dict[str, str] | bytes, address: str = "198.51.100.1") -> httpx2.Response:
    content = body if isinstance(body, bytes) else json.dumps(body)
    headers = {"X-Forwarded-For": address, "Content-Type": "application/json"}
    return await make.nobody.post("/sessions", content=content, headers=headers)


def somebody() -> str:
    """Return an address that nobody has tried: wrong passwords slow down whoever tries them with the same."""
    return f"{unique('somebody')}@example.org"


def wrong(email: str) -> dict[str, str]:
    return {"email": email, "password": "not the password"}


def statuses(answers: list[httpx2.Response]) -> list[int]:
    return [answer.status_code for answer in answers]


async def test_a_refusal_says_what_is_limited_and_until_when(server_factory: ServerFactory) -> None:
    make = await limited(server_factory, **{called(ENTER): "2/minute"})
    answers = [await make.nobody.post("/sessions/anonymous", json={"name": "Vera"}) for _ in range(3)]
    assert statuses(answers) == [201, 201, 429]
    document = problem(answers[2], 429, "too_many_requests")
    assert document["policy"] == "accounts.enter_by_address"
    wait = int(answers[2].headers["retry-after"])
    assert 58 <= wait <= 60
    assert document["detail"] == f"Try again in {wait} s."
    for answer, remaining in zip(answers, (1, 0, 0), strict=True):
        policies = '"http.requests_by_address";q=100000;w=60, "accounts.enter_by_address";q=2;w=60'
        assert answer.headers["ratelimit-policy"] == policies
        general, own = answer.headers["ratelimit"].split(", ")
        assert general.startswith('"http.requests_by_address";r=9999')
        name, left, reset = own.split(";")
        assert (name, left) == ('"accounts.enter_by_address"', f"r={remaining}")
        assert 58 <= int(reset.removeprefix("t=")) <= 60


async def test_every_answer_of_a_limited_route_has_the_headers(server_factory: ServerFactory) -> None:
    make = await limited(server_factory)
    person = await make.person()
    answers = {
        401: await log_in(make, wrong(somebody())),
        400: await make.nobody.post("/accounts", json={}),
        415: await make.nobody.post("/accounts", content=b"x", headers={"Content-Type": "text/plain"}),
        200: await person.http.get("/me"),
        404: await person.http.get("/workspaces/there-is-none"),
    }
    assert {status: answer.status_code for status, answer in answers.items()} == {one: one for one in answers}
    for answer in answers.values():
        assert answer.headers["ratelimit"].count(";r=") == answer.headers["ratelimit-policy"].count(";q=") >= 1


async def test_pages_of_other_sites_may_read_the_headers(server_factory: ServerFactory) -> None:
    server = await server_factory(server={"cors_origins": ["https://www.example.org"]})
    answer = await server.client().get("/", headers={"Origin": "https://www.example.org"})
    assert {"RateLimit", "RateLimit-Policy", "Retry-After"} <= {
        name.strip() for name in answer.headers["access-control-expose-headers"].split(",")
    }


class TestLogins:
    async def test_guesses_at_one_account_are_few(self, server_factory: ServerFactory) -> None:
        make = await limited(server_factory, **{called(LOGIN_BY_EMAIL): "3/minute"})
        ada, bob = await make.person(), await make.person()
        assert ada.email is not None
        spellings = [ada.email, ada.email.upper(), ada.email.title()]
        assert statuses([await log_in(make, wrong(email)) for email in (*spellings, ada.email)]) == [401] * 3 + [429]
        # The right password comes too late, from here.
        right = {"email": str(ada.email), "password": PASSWORD}
        refused = problem(await log_in(make, right), 429, "too_many_requests")
        assert refused["policy"] == "accounts.login_by_address_and_email"
        # From elsewhere, and to another account, it does not.
        assert (await log_in(make, right, "198.51.100.2")).status_code == 201
        assert (await log_in(make, {"email": str(bob.email), "password": PASSWORD})).status_code == 201

    async def test_one_password_tried_on_many_accounts_is_slowed_down(self, server_factory: ServerFactory) -> None:
        make = await limited(server_factory, **{called(LOGIN_BY_ADDRESS): "4/minute"})
        answers = [await log_in(make, wrong(f"{unique('guess')}@example.org")) for _ in range(6)]
        assert statuses(answers) == [401] * 4 + [429] * 2

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            (b"", 400),
            (b"{", 400),
            (b"[]", 400),
            (b"null", 400),
            (b'"email"', 400),
            (b'{"email": 5, "password": "x"}', 400),
            (b'{"email": null}', 400),
            (b'{"email": {"email": "ada@example.org"}}', 400),
            (b'{"email": "\\ud800"}', 400),
            (b'{"password": "x"}', 400),
            (b"\xff\xfe", 400),
            (b'{"email": ' + b"[" * 100_000, 400),
            (b'{"a": "' + b"x" * 2_000_000 + b'"}', 413),
        ],
    )
    async def test_a_malformed_body_is_counted_too(
        self, body: bytes, status: int, server_factory: ServerFactory
    ) -> None:
        make = await limited(server_factory, **{called(LOGIN_BY_EMAIL): "2/minute"})
        answers = [await log_in(make, body) for _ in range(3)]
        # What is too long is not read to its end.
        assert statuses(answers) == [status, status, 413 if status == 413 else 429]
        # It keeps nobody else out, here or elsewhere.
        assert (await log_in(make, wrong(somebody()))).status_code == 401
        assert (await log_in(make, body, "198.51.100.2")).status_code == status

    async def test_the_address_that_counts_is_the_one_that_is_logged_in(self, server_factory: ServerFactory) -> None:
        """However a body is written, the limit sees the same address as the login."""
        make = await limited(server_factory, **{called(LOGIN_BY_EMAIL): "2/minute"})
        bodies = (
            b'{"email": "ada@example.org", "password": "x"}',
            b'{"email": "other@example.org", "password": "x", "email": "ada@example.org"}',
            b'{"password": "x", "\\u0065mail": "\\u0061da@example.org"}',
        )
        assert statuses([await log_in(make, body) for body in bodies]) == [401, 401, 429]


@pytest.mark.parametrize(
    ("policy", "path", "body", "status"),
    [
        (REGISTER, "/accounts", {"email": "x", "password": "x", "name": "x"}, 400),
        (ENTER, "/sessions/anonymous", {"name": "Vera"}, 201),
        (REFRESH, "/sessions/refresh", {"refresh_token": "x" * 43}, 401),
    ],
)
async def test_every_way_in_is_limited_by_address(
    policy: Policy, path: str, body: dict[str, str], status: int, server_factory: ServerFactory
) -> None:
    make = await limited(server_factory, **{called(policy): "2/hour"})

    async def ask(address: str) -> int:
        return (await make.nobody.post(path, json=body, headers={"X-Forwarded-For": address})).status_code

    # One subscriber has all addresses of a network.
    inside = [await ask(f"2001:db8:1:2::{number}") for number in range(1, 4)]
    assert inside == [status, status, 429]
    assert [await ask("2001:db8:1:3::1"), await ask("192.0.2.1")] == [status, status]
    # What a client makes up stands before what the proxy has seen.
    assert await ask("6.6.6.6, 2001:db8:1:2::9") == 429


async def test_headers_of_whoever_is_no_proxy_do_not_count(server_factory: ServerFactory) -> None:
    server = await server_factory(
        limits={"enabled": True, "policies": {ENTER.name: "2/hour"}}, server={"trusted_proxies": ["10.0.0.1"]}
    )
    async with server.network_client(base_url=server.url + API) as client:
        asked = [
            await client.post(
                "/sessions/anonymous",
                json={"name": "Vera"},
                headers={"X-Forwarded-For": f"10.0.0.1, 198.51.100.{number}", "Forwarded": f"for=198.51.100.{number}"},
            )
            for number in range(3)
        ]
    assert statuses(asked) == [201, 201, 429]


@pytest.mark.parametrize(("trusted", "expected"), [("127.0.0.1", [201, 201]), ("10.0.0.1", [201, 429])])
async def test_a_server_as_operators_start_it_believes_its_proxies_alone(
    trusted: str, expected: list[int], tmp_path: Path
) -> None:
    own = {"LIMITS__ENABLED": "true", "LIMITS__POLICIES": f"{ENTER.name}=1/hour", "SERVER__TRUSTED_PROXIES": trusted}
    server = ServerProcess(tmp_path, "server", own)
    await server.start()
    try:
        async with httpx2.AsyncClient(trust_env=False, base_url=server.url + API) as client:
            asked = [
                await client.post(
                    "/sessions/anonymous", json={"name": "V"}, headers={"X-Forwarded-For": f"198.51.100.{number}"}
                )
                for number in (1, 2)
            ]
    finally:
        await server.stop()
    assert statuses(asked) == expected


class TestTheGeneralLimit:
    async def test_each_account_has_its_own(self, server_factory: ServerFactory) -> None:
        make = await limited(server_factory, **{called(BY_ACCOUNT): "3/minute"})
        ada, bob = await make.person(), await make.person()
        assert statuses([await ada.http.get("/me") for _ in range(4)]) == [200] * 3 + [429]
        assert problem(await ada.http.get("/workspaces"), 429, "too_many_requests")["policy"] == BY_ACCOUNT.name
        assert (await bob.http.get("/me")).status_code == 200

    async def test_what_is_public_has_one_for_each_address(self, server_factory: ServerFactory) -> None:
        make = await limited(server_factory, **{called(BY_ADDRESS): "3/minute"})
        answers = [await log_in(make, wrong(somebody())) for _ in range(4)]
        assert statuses(answers) == [401] * 3 + [429]
        assert (await log_in(make, wrong(somebody()), "198.51.100.2")).status_code == 401

    @pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer guessed"}])
    async def test_so_has_whoever_shows_no_login_that_counts(
        self, headers: dict[str, str], server_factory: ServerFactory
    ) -> None:
        make = await limited(server_factory, **{called(BY_ADDRESS): "3/minute"})
        assert statuses([await make.nobody.get("/me", headers=headers) for _ in range(4)]) == [401] * 3 + [429]

    async def test_what_is_about_the_server_itself_is_not_limited(self, server_factory: ServerFactory) -> None:
        make = await limited(server_factory, **{called(BY_ADDRESS): "1/minute"})
        client = make.server.client()
        for _ in range(3):
            for path in ("/", "/health/live", "/openapi.json"):
                answer = await client.get(path)
                assert answer.status_code == 200
                assert "ratelimit" not in answer.headers


@pytest.mark.services
async def test_processes_limit_together(server_factory: ServerFactory, redis_space: RedisSpace) -> None:
    options: dict[str, Any] = {
        "redis": {"url": redis_space.url, "prefix": f"{redis_space.prefix}-{uuid4().hex[:8]}"},
        "limits": {"enabled": True, "policies": {**GENEROUS, LOGIN_BY_EMAIL.name: "4/minute"}},
    }
    makers = [Factory(await server_factory(**options)) for _ in range(2)]
    email = somebody()
    answers = await asyncio.gather(*(log_in(makers[n % 2], wrong(email)) for n in range(12)))
    assert sorted(statuses(answers)) == [401] * 4 + [429] * 8


@pytest.mark.services
async def test_without_redis_requests_pass_and_logins_are_still_few(
    server_factory: ServerFactory, tmp_path: Path
) -> None:
    async with own_redis(tmp_path) as redis:
        policies = {**GENEROUS, LOGIN_BY_EMAIL.name: "3/minute", BY_ACCOUNT.name: "20/minute"}
        make = Factory(await server_factory(redis={"url": redis.url}, limits={"enabled": True, "policies": policies}))
        ada = await make.person()
        await redis.kill()
        assert set(statuses([await ada.http.get("/me") for _ in range(40)])) == {200}
        answers = [await log_in(make, wrong("ada@example.org")) for _ in range(5)]
        assert statuses(answers) == [401] * 3 + [429] * 2


async def test_limits_can_be_turned_off(server_factory: ServerFactory) -> None:
    for settings in ({"enabled": False}, {"enabled": True, "policies": dict.fromkeys(GENEROUS, "off")}):
        make = Factory(await server_factory(limits=settings))
        answers = [await log_in(make, wrong(somebody())) for _ in range(15)]
        assert {(answer.status_code, answer.headers.get("ratelimit")) for answer in answers} == {(401, None)}


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("accounts.logins", "5/minute", "there is no policy accounts.logins"),
        (LOGIN_BY_EMAIL.name, "many", "'many' is not a limit such as 10/minute or 100 per 2 hours, nor 'off'"),
        (LOGIN_BY_EMAIL.name, "1/minute;2/hour", "is not a limit"),
        (LOGIN_BY_EMAIL.name, "0/minute", "allows nothing"),
    ],
)
async def test_a_setting_that_cannot_be_keeps_the_server_from_starting(
    name: str, text: str, told: str, server_factory: ServerFactory
) -> None:
    with pytest.raises(SettingsError) as error:
        await server_factory(limits={"policies": {name: text}})
    (fault,) = error.value.faults
    assert fault.startswith("limits.policies")
    assert told in fault


# --------------------------------------------------------------------------------- routes that are made up


class Wish(Input, frozen=True):
    """A body with a field to count by."""

    thing: str = ""


def made_up(by: str) -> Policy:
    return Policy(name=f"test.{by.partition(':')[0]}", description="For a test.", limit="2/day", by=by)


async def serve(server_factory: ServerFactory, *handlers: HTTPRouteHandler) -> Factory:
    """Start a server that has routes more."""
    server = await server_factory(limits={"enabled": True})
    runtime = server.runtime
    policies = {policy.name: policy for handler in handlers for policy in handler.opt["limits"]}
    runtime.limits._rules |= Limits(policies, server.settings, runtime.signer)._rules
    for handler in handlers:
        server.app.http.register(handler)
    return Factory(server)


async def test_a_route_counts_by_whatever_it_says(server_factory: ServerFactory) -> None:
    @post("/test/body", permission=SIGNED_IN, idempotent=False, limits=[made_up("body:thing")])
    async def by_body(context: Context, data: Wish) -> None:
        """Count by a field."""

    @get("/test/workspaces/{workspace:str}", permission=SIGNED_IN, limits=[made_up("workspace")])
    async def by_workspace(context: ReadContext) -> None:
        """Count by workspace."""

    @get("/test/account", permission=SIGNED_IN, limits=[made_up("account")])
    async def by_account(context: ReadContext) -> None:
        """Count by account."""

    @get("/test/key", permission=SIGNED_IN, limits=[made_up("api_key")])
    async def by_key(context: ReadContext) -> None:
        """Count by session."""

    @get("/test/all", permission=SIGNED_IN, limits=[made_up("installation")])
    async def by_installation(context: ReadContext) -> None:
        """Count everybody together."""

    make = await serve(server_factory, by_body, by_workspace, by_account, by_key, by_installation)
    workspace, other = await make.workspace(), await make.workspace()
    ada, bob = workspace.owner, other.owner
    again = make.signed_in(ok(await make.nobody.post("/sessions", json={"email": ada.email, "password": PASSWORD})))

    async def asked(path: str, *people: Person, **options: Any) -> list[int]:
        method = "POST" if options else "GET"
        return [(await one.http.request(method, path, **options)).status_code for one in people]

    assert await asked("/test/account", ada, again, ada, bob) == [200, 200, 429, 200]
    assert await asked("/test/key", ada, ada, ada, again, bob) == [200, 200, 429, 200, 200]
    assert await asked("/test/all", ada, bob, again) == [200, 200, 429]
    here = f"/test/workspaces/{workspace.slug}"
    assert await asked(here, ada, bob) == [200, 200]
    # By any of its names.
    assert await asked(f"/test/workspaces/{workspace.id}", ada) == [429]
    assert await asked(f"/test/workspaces/{other.slug}", ada) == [200]
    assert await asked("/test/workspaces/there-is-none", ada) == [404]
    assert await asked("/test/body", ada, bob, again, json={"thing": "one"}) == [201, 201, 429]
    assert await asked("/test/body", ada, json={"thing": "another"}) == [201]


@pytest.mark.parametrize(
    ("path", "permission", "by"),
    [
        ("/test", PUBLIC, "account"),
        ("/test", PUBLIC, "api_key"),
        ("/test", SIGNED_IN, "workspace"),
        ("/test", SIGNED_IN, "body:email"),
        ("/test", SIGNED_IN, "address_and_body:email"),
    ],
)
def test_a_policy_that_a_route_has_nothing_to_count_by_is_a_fault(path: str, permission: str, by: str) -> None:
    async def handler(context: ReadContext) -> None:
        """Do nothing."""

    with pytest.raises(ValueError, match="nothing to count"):
        get(path, permission=permission, limits=[made_up(by)])(handler)


def test_a_route_documents_the_problem() -> None:
    @get("/test", permission=PUBLIC)
    async def handler(context: ReadContext) -> None:
        """Do nothing."""

    problems: list[type[Problem]] = handler.opt["problems"]
    assert TooManyRequests in problems
    assert handler.opt["limits"] == (BY_ADDRESS,)
