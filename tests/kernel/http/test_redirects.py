from courtyard.kernel.errors import Conflict
from courtyard.kernel.http import Redirect

PAGE = "https://www.example.org/inbox?a=b#/there"


def test_a_page_is_opened_as_it_was_named() -> None:
    assert Redirect(PAGE).address == PAGE


def test_what_a_page_is_told_stands_behind_the_hash() -> None:
    assert Redirect(PAGE, fragment={"code": "a&b", "state": "c"}).address == (
        "https://www.example.org/inbox?a=b#code=a%26b&state=c"
    )


def test_a_problem_is_told_with_its_members() -> None:
    redirect = Redirect(PAGE, problem=Conflict(challenge="x y", methods=["totp", "recovery_code"]))
    assert redirect.address == (
        "https://www.example.org/inbox?a=b#error=conflict&challenge=x+y&methods=totp%2Crecovery_code"
    )
