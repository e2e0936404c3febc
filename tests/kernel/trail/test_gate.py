"""What happens again and again is let through once in a while, with the count of what was held back."""

from courtyard.kernel.trail import Gate


def test_the_same_is_held_back_for_a_while() -> None:
    now = [0.0]
    gate = Gate(seconds=60, clock=lambda: now[0])
    assert [gate.admit("a"), gate.admit("a"), gate.admit("b"), gate.admit("a")] == [0, None, 0, None]
    now[0] = 59.9
    assert gate.admit("a") is None
    now[0] = 60.0
    assert [gate.admit("a"), gate.admit("a")] == [3, None]


def test_it_remembers_only_so_much() -> None:
    gate = Gate(size=2, clock=lambda: 0.0)
    for key in ("a", "b", "c"):
        assert gate.admit(key) == 0
    assert gate.admit("c") is None
    assert gate.admit("a") == 0
