"""What the audit log keeps of second factors, passkeys and API keys: what happened, and no secret."""

import copy

import pytest

from tests.credentials import App, Authenticator, add_passkey, first_factor, passkey_login, set_up_app
from tests.entries import details, entries
from tests.factories import Factory, ok, problem


async def test_the_app_and_its_codes(make: Factory) -> None:
    person = await make.person()
    begun = ok(await person.http.post("/me/totp"))
    app = App(begun["secret"])
    confirmed = await person.http.post("/me/totp/confirm", json={"code": app.code()})
    codes = ok(confirmed)["codes"]
    kept = await entries(make, confirmed)
    assert set(kept) == {"accounts:totp:added", "accounts:session:proven"}
    assert kept["accounts:totp:added"].actor_id == person.id
    for secret in (begun["secret"], *codes):
        assert secret not in str(kept)
    wrong = {"by": "totp", "challenge": await first_factor(make.nobody, person), "code": app.wrong_code()}
    refused = await make.nobody.post("/sessions/second-factor", json=wrong)
    problem(refused, 400, "wrong_code")
    (entry,) = (await entries(make, refused)).values()
    assert (entry.name, entry.action, entry.object_id) == ("accounts:second_factor:refused", "refused", str(person.id))
    assert details(entry) == {"method": "totp"}
    paper = {"by": "recovery_code", "challenge": wrong["challenge"], "recovery_code": codes[0]}
    entered = await make.nobody.post("/sessions/second-factor", json=paper)
    ok(entered)
    kept = await entries(make, entered)
    assert set(kept) == {"accounts:recovery_code:used", "accounts:session:opened"}
    assert {entry.actor_id for entry in kept.values()} == {person.id}
    assert codes[0] not in str(kept)
    for method, path, name in (
        ("POST", "/me/recovery-codes", "accounts:recovery_codes:renewed"),
        ("DELETE", "/me/totp", "accounts:totp:removed"),
    ):
        answer = await person.http.request(method, path)
        ok(answer)
        assert set(await entries(make, answer)) == {name}


async def test_passkeys(make: Factory) -> None:
    person, authenticator = await make.person(), Authenticator()
    passkey = await add_passkey(person, authenticator)
    copied = copy.copy(authenticator)
    copied.credentials = [copy.copy(each) for each in authenticator.credentials]
    ok(await passkey_login(make.nobody, authenticator))
    refused = await passkey_login(make.nobody, copied)
    problem(refused, 400, "passkey_refused")
    (entry,) = (await entries(make, refused)).values()
    assert (entry.name, entry.object_id) == ("accounts:passkey:copied", passkey["id"])
    assert details(entry) == {"account_id": str(person.id)}
    path = f"/me/passkeys/{passkey['id']}"
    renamed = await person.http.patch(path, json={"name": "Work"})
    (entry,) = (await entries(make, renamed)).values()
    assert (entry.name, details(entry)) == ("accounts:passkey:renamed", {"called": "Laptop"})
    removed = await person.http.delete(path)
    assert set(await entries(make, removed)) == {"accounts:passkey:removed"}


async def test_api_keys(make: Factory) -> None:
    person = await make.person()
    made = await person.http.post("/me/api-keys", json={"name": "Importer", "scopes": []})
    issued = ok(made)
    (entry,) = (await entries(make, made)).values()
    assert (entry.name, entry.object_id) == ("accounts:api_key:issued", issued["api_key"]["id"])
    assert details(entry) == {
        "account_id": str(person.id),
        "called": "Importer",
        "scopes": [],
        "expires_at": None,
    }
    # Not even where somebody writes it into the address.
    leaked = await person.http.delete(f"/me/api-keys/{issued['api_key']['id']}?key={issued['key']}&x={issued['key']}")
    (entry,) = (await entries(make, leaked)).values()
    assert entry.name == "accounts:api_key:revoked"
    assert issued["key"] not in str(entry)


@pytest.mark.parametrize("place", ["{}", "my key is {}.", "https://example.org/?x={}"])
async def test_a_key_is_known_by_its_form(make: Factory, place: str) -> None:
    person = await make.person()
    key = ok(await person.http.post("/me/api-keys", json={"name": "Importer"}))["key"]
    answer = await person.http.patch("/me", json={"name": place.format(key)})
    ok(answer)
    assert key not in str(await entries(make, answer))


async def test_a_wrong_recovery_code_is_kept_without_what_was_typed(make: Factory) -> None:
    person = await make.person()
    await set_up_app(person)
    typed = {
        "by": "recovery_code",
        "challenge": await first_factor(make.nobody, person),
        "recovery_code": "my old password",
    }
    refused = await make.nobody.post("/sessions/second-factor", json=typed)
    problem(refused, 400, "wrong_code")
    (entry,) = (await entries(make, refused)).values()
    assert details(entry) == {"method": "recovery_code"}
    assert "my old password" not in str(entry)
