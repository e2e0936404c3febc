"""`ETag`, `If-None-Match` and `If-Match`."""

import asyncio

import pytest

from tests.factories import Factory, ok, problem


async def test_a_thing_has_its_version_as_tag(make: Factory) -> None:
    person = await make.person()
    first = await person.http.get("/me")
    assert first.headers["etag"] == f'"{first.json()["version"]}"'
    changed = await person.http.patch("/me", json={"name": "Ada L."})
    assert changed.headers["etag"] == f'"{ok(changed)["version"]}"' != first.headers["etag"]


async def test_what_has_not_changed_is_not_sent_again(make: Factory) -> None:
    person = await make.person()
    tag = (await person.http.get("/me")).headers["etag"]
    unchanged = await person.http.get("/me", headers={"If-None-Match": tag})
    assert (unchanged.status_code, unchanged.content, unchanged.headers["etag"]) == (304, b"", tag)
    ok(await person.http.patch("/me", json={"name": "Ada L."}))
    changed = await person.http.get("/me", headers={"If-None-Match": tag})
    assert ok(changed)["name"] == "Ada L."


@pytest.mark.parametrize("condition", ["W/{tag}", '"7", {tag}', "*"])
async def test_what_has_not_changed_is_known_by_every_form_of_its_tag(make: Factory, condition: str) -> None:
    """RFC 9110, section 13.1.2: a list of tags, compared weakly, as proxies that compress make of them."""
    person = await make.person()
    tag = (await person.http.get("/me")).headers["etag"]
    headers = {"If-None-Match": condition.format(tag=tag)}
    assert (await person.http.get("/me", headers=headers)).status_code == 304


@pytest.mark.parametrize("header", ['"{version}"', "*", ' "{version}" '])
async def test_a_change_of_what_was_seen_is_made(make: Factory, header: str) -> None:
    person = await make.person()
    version = ok(await person.http.get("/me"))["version"]
    headers = {"If-Match": header.format(version=version)}
    assert ok(await person.http.patch("/me", json={"name": "New"}, headers=headers))["name"] == "New"


@pytest.mark.parametrize(
    "header",
    ['"0"', '"99"', "1", "abc", '""', '"', 'W/"1"', '"-1"', '"1', '"²"', f'"{10**40}"', '"1.0"'],
)
async def test_a_change_of_another_version_is_refused(make: Factory, header: str) -> None:
    person = await make.person()
    headers = [(b"If-Match", header.encode())]
    problem(await person.http.patch("/me", json={"name": "New"}, headers=headers), 412, "precondition_failed")
    assert ok(await person.http.get("/me"))["name"] == person.name


async def test_of_two_changes_at_once_one_is_told_of_the_other(make: Factory) -> None:
    person = await make.person()
    tag = (await person.http.get("/me")).headers["etag"]
    answers = await asyncio.gather(
        *(person.http.patch("/me", json={"name": f"Ada {n}"}, headers={"If-Match": tag}) for n in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412, 412]
    (winner,) = (answer for answer in answers if answer.is_success)
    assert ok(await person.http.get("/me"))["name"] == winner.json()["name"]


async def test_an_empty_change_changes_nothing(make: Factory) -> None:
    person = await make.person()
    before = await person.http.get("/me")
    unchanged = await person.http.patch("/me", json={})
    assert (ok(unchanged), unchanged.headers["etag"]) == (before.json(), before.headers["etag"])
