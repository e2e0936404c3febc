"""Problems as values; what becomes of them on the wire is tested with the web layer and with sockets."""

import inspect
import pkgutil
from importlib import import_module

import courtyard
from courtyard.kernel.errors import Conflict, FieldError, Problem, Unauthenticated, Unavailable


class Teapot(Problem):
    code = "teapot"
    status = 418
    title = "A teapot"


def test_a_problem_has_the_members_of_its_class_and_of_this_time() -> None:
    fault = FieldError("too short", pointer="/name")
    document = Teapot("No coffee.", errors=[fault], leaves=3).document("request-1")
    assert document == {
        "type": "urn:courtyard:problem:teapot",
        "title": "A teapot",
        "status": 418,
        "code": "teapot",
        "detail": "No coffee.",
        "errors": ({"detail": "too short", "pointer": "/name"},),
        "request_id": "request-1",
        "leaves": 3,
    }
    assert Teapot().document() == {
        "type": "urn:courtyard:problem:teapot",
        "title": "A teapot",
        "status": 418,
        "code": "teapot",
    }
    assert str(Teapot()) == "A teapot"
    assert str(Conflict("Twice.")) == "Twice."


def test_problems_bring_the_headers_that_their_status_asks_for() -> None:
    assert Unauthenticated().headers == {"WWW-Authenticate": "Bearer"}
    assert Unavailable(retry_after_seconds=7).headers == {"Retry-After": "7"}


def every_problem() -> set[type[Problem]]:
    """Find the problems of all modules."""
    found: set[type[Problem]] = set()
    for module in pkgutil.walk_packages(courtyard.__path__, "courtyard."):
        if module.name.endswith(".errors"):
            classes = vars(import_module(module.name)).values()
            found |= {one for one in classes if inspect.isclass(one) and issubclass(one, Problem)}
    return found


def test_a_code_means_one_thing() -> None:
    # One that narrows another down may be told as that.
    problems = [problem for problem in every_problem() if "code" in vars(problem) and problem is not Problem]
    assert len(problems) > 20
    assert len({problem.code for problem in problems}) == len(problems)


def test_every_problem_says_what_it_is_about() -> None:
    for problem in every_problem():
        assert problem.__doc__
        assert 400 <= problem.status < 600
        assert problem.title == problem.title.strip()
        assert problem().document()["title"] == problem.title
