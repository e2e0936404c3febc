"""Identifiers sort by the time they were made."""

from datetime import UTC, datetime

from courtyard.kernel.ids import new_id


def test_ids_are_of_version_7_and_of_our_type() -> None:
    made = new_id()
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert type(made).__module__ == "uuid"


def test_ids_sort_by_the_time_they_were_made() -> None:
    made = [new_id() for _ in range(10_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_an_id_tells_its_millisecond() -> None:
    before = datetime.now(UTC)
    milliseconds = new_id().int >> 80
    assert abs(milliseconds - before.timestamp() * 1000) < 1_000
