"""Secrets that were planted in requests are in no line that a server writes."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from courtyard.kernel.redaction import REDACTED
from courtyard.kernel.telemetry import redact
from tests.factories import unique
from tests.mailbox import Mailbox
from tests.processes import ServerProcess

PASSWORD = "planted-password-canary"


@pytest.fixture(params=["json", pytest.param("console", marks=pytest.mark.slow)])
async def process(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server process of its own, which writes all that it can."""
    telemetry = {"ACCESS_LOG": "true", "LOG_FORMAT": str(request.param), "LOG_LEVEL": "DEBUG"}
    settings = {f"TELEMETRY__{name}": value for name, value in telemetry.items()}
    process = ServerProcess(tmp_path, "server", settings)
    await process.start()
    yield process
    await process.stop()


async def register(url: str, email: str, mailbox: Mailbox) -> list[str]:
    """Make an account with the code of a mail, and return what was secret about it."""
    new = {"email": email, "password": PASSWORD, "name": "Ada"}
    async with httpx2.AsyncClient(base_url=f"{url}/api/v1", trust_env=False, timeout=30) as http:
        started = await http.post("/accounts", json=new, headers={"Idempotency-Key": "planted-key"})
        assert started.status_code == 202
        mail = await mailbox.wait_for(email)
        proof = {"by": "code", "challenge_id": started.json()["challenge_id"], "code": mail.code}
        assert (await http.post("/accounts/confirm", json=proof)).status_code == 201
        # Refused, with the secret in the body.
        assert (await http.post("/accounts/confirm", json=proof)).status_code == 400
        assert (await http.post("/accounts", json={**new, "surprise": PASSWORD})).status_code == 400
    return [mail.link.rpartition("/")[2], mail.code]


def use(url: str, email: str) -> list[str]:
    """Do what has secrets in it, well and badly, and return them."""
    api = f"{url}/api/v1"
    canaries = [PASSWORD]
    with httpx2.Client(trust_env=False, timeout=30) as http:
        assert http.post(f"{api}/sessions", json={"email": email, "password": f"{PASSWORD}!"}).status_code == 401
        login: dict[str, Any] = http.post(f"{api}/sessions", json={"email": email, "password": PASSWORD}).json()
        canaries += [login["access_token"], login["refresh_token"], login["csrf_token"]]
        forged = f"{login['access_token']}planted-forgery"
        assert http.get(f"{api}/me", headers={"Authorization": f"Bearer {forged}"}).status_code == 401
        assert http.get(f"{api}/me?access_token={login['access_token']}").status_code == 401
        canaries.append("planted-forgery")
        by_cookie = http.post(f"{api}/sessions", json={"email": email, "password": PASSWORD, "cookies": True}).json()
        canaries += [by_cookie["csrf_token"], *(str(value) for value in http.cookies.values())]
        assert http.patch(f"{api}/me", json={"name": "Eve"}).status_code == 403
        refresh = {"refresh_token": login["refresh_token"]}
        canaries.append(http.post(f"{api}/sessions/refresh", json=refresh).json()["refresh_token"])
        assert http.post(f"{api}/sessions/refresh", json={"refresh_token": forged[:100]}).status_code in {400, 401}
        polling = http.get(f"{url}/socket.io/?EIO=4&transport=polling").text
        sid = json.loads(polling[1:])["sid"]
        connect = f'40{{"token":"{forged}"}}'
        http.post(f"{url}/socket.io/?EIO=4&transport=polling&sid={sid}", content=connect)
        http.get(f"{url}/socket.io/?EIO=4&transport=polling&sid={sid}")
    return canaries


async def test_no_secret_is_in_any_line(process: ServerProcess, tmp_path: Path) -> None:
    email = f"{unique('ada')}@example.org"
    canaries = await register(process.url, email, Mailbox(tmp_path / "data"))
    canaries += await asyncio.to_thread(use, process.url, email)
    assert len(set(canaries)) > 7
    generated = "".join(path.read_text() for path in (tmp_path / "data").glob("*.toml"))
    canaries += re.findall(r'secret = "([^"]+)"', generated)
    log = process.output.read_text()
    for canary in canaries:
        assert canary not in log
    # There are lines in which they could have been.
    assert log.count("http.request") >= 10
    assert "/api/v1/sessions/refresh" in log


def test_what_is_secret_by_its_name_is_taken_out_at_any_depth() -> None:
    event = {
        "event": "sample",
        "password": "a",
        "Authorization": "b",
        "nested": {"refresh_token": "c", "deep": {"api_key": ["d"], "plain": 1}},
        "csrf": "e",
        "Set-Cookie": "f",
        "client_secret": "g",
        "author": "h",
    }
    assert redact(None, "info", event) == {
        "event": "sample",
        "password": REDACTED,
        "Authorization": REDACTED,
        "nested": {"refresh_token": REDACTED, "deep": {"api_key": REDACTED, "plain": 1}},
        "csrf": REDACTED,
        "Set-Cookie": REDACTED,
        "client_secret": REDACTED,
        "author": "h",
    }
