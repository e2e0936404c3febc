"""The cache of what may be a second old."""

from types import SimpleNamespace

import pytest

from courtyard.kernel.cache import ShortCache


@pytest.fixture
def cache() -> ShortCache[str, int]:
    return ShortCache(seconds=1.0, size=3)


def test_what_was_put_in_comes_out(cache: ShortCache[str, int]) -> None:
    assert cache.get("a") is None
    cache.put("a", 1)
    assert cache.get("a") == 1
    cache.put("a", 2)
    assert cache.get("a") == 2


def test_it_lives_for_its_time_and_no_longer(cache: ShortCache[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = 1_000.0
    monkeypatch.setattr("courtyard.kernel.cache.time", SimpleNamespace(monotonic=lambda: seconds))
    cache.put("a", 1)
    seconds += 0.9
    assert cache.get("a") == 1
    # Being read does not make it younger.
    seconds += 0.2
    assert cache.get("a") is None
    seconds -= 0.5
    assert cache.get("a") is None


def test_the_oldest_make_room(cache: ShortCache[str, int]) -> None:
    for number, key in enumerate("abc"):
        cache.put(key, number)
    cache.put("a", 9)
    cache.put("d", 3)
    assert {key: cache.get(key) for key in "abcd"} == {"a": 9, "b": None, "c": 2, "d": 3}


def test_forgetting(cache: ShortCache[str, int]) -> None:
    cache.put("a", 1)
    cache.put("b", 2)
    cache.forget("a")
    cache.forget("nothing")
    assert (cache.get("a"), cache.get("b")) == (None, 2)
    cache.clear()
    assert cache.get("b") is None
