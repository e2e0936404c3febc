"""Policies: what can be declared, and whom a hit is counted for."""

from typing import Any
from uuid import UUID

import pytest

from courtyard.kernel.application import Application
from courtyard.kernel.limits import Subject, declared_policies, faults_of, key_of
from courtyard.server import KERNEL
from tests.kernel.limits.conftest import policy

ACCOUNT, SESSION, WORKSPACE = (UUID(int=number) for number in (1, 2, 3))
SOMEBODY = Subject("2001:db8::1", ACCOUNT, SESSION, WORKSPACE)
NOBODY = Subject("192.0.2.1")


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Test"},
        {"name": "test"},
        {"name": "test.with space"},
        {"limit": "often"},
        {"limit": "0/minute"},
        {"limit": "1/minute;2/hour"},
        {"limit": ""},
        {"by": "name"},
        {"by": "body:"},
        {"by": "body:a.b"},
        {"batch": 0},
        {"batch": 4},
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        policy(**wrong)


@pytest.mark.parametrize(
    ("by", "subject", "value", "key"),
    [
        ("address", NOBODY, None, "address 192.0.2.1"),
        ("address", SOMEBODY, None, "address 2001:db8::/64"),
        ("account", SOMEBODY, None, f"account {ACCOUNT}"),
        ("account", NOBODY, None, "address 192.0.2.1"),
        ("api_key", SOMEBODY, None, f"credential {SESSION}"),
        ("api_key", NOBODY, None, "address 192.0.2.1"),
        ("workspace", SOMEBODY, None, f"workspace {WORKSPACE}"),
        ("workspace", NOBODY, None, "address 192.0.2.1"),
        ("installation", SOMEBODY, None, "installation"),
        ("body:email", NOBODY, " Ada@Example.org ", "body ada@example.org"),
        ("body:name", NOBODY, " Ada ", "body  Ada "),
        ("address_and_body:email", NOBODY, "Ada@example.org", "address 192.0.2.1 body ada@example.org"),
        ("body:email", NOBODY, None, "address 192.0.2.1"),
        ("address_and_body:email", NOBODY, 5, "address 192.0.2.1"),
        ("body:email", NOBODY, ["ada@example.org"], "address 192.0.2.1"),
    ],
)
def test_a_hit_is_counted_for(by: str, subject: Subject, value: object, key: str) -> None:
    assert key_of(policy(by=by), subject, value) == key


def test_the_policies_of_routes_and_services_are_found() -> None:
    own = policy(name="sample.mails_by_account", by="account")
    part = Application(name="sample", description="For a test.", limits=[own])
    declared = declared_policies([*KERNEL, part])
    assert declared["sample.mails_by_account"] is own
    assert {"accounts.login_by_address", "http.requests_by_account", "http.requests_by_address"} <= declared.keys()
    assert [*declared] == sorted(declared)


def test_two_policies_cannot_have_one_name() -> None:
    parts = [
        Application(name=f"sample_{number}", description="For a test.", limits=[policy(f"{number}/day")])
        for number in (1, 2)
    ]
    with pytest.raises(ValueError, match=r"test\.thing"):
        declared_policies(parts)


def test_settings_can_name_any_policy_and_turn_it_off() -> None:
    declared = {"test.thing": policy()}
    assert list(faults_of({"test.thing": "off"}, declared)) == []
    assert list(faults_of({"test.thing": "5 per 2 hours"}, declared)) == []
    assert len(list(faults_of({"test.thing": "never", "test.other": "1/day"}, declared))) == 2
