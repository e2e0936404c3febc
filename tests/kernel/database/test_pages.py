"""Keyset pages: every row once, and no cursor that does harm."""

import base64
import contextlib
from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated, Any
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from courtyard.kernel.database import Number, Page, page, sort_key
from courtyard.kernel.errors import InvalidInput

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
Key: Any = tuple[Moment, UUID]
NumberKey: Any = tuple[Number]
moments = st.datetimes(datetime(2020, 1, 1), datetime(2020, 1, 1, 0, 0, 3), timezones=st.just(UTC))  # noqa: DTZ001


def cursor_of(value: Any) -> str:  # noqa: ANN401
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(value)).rstrip(b"=").decode()


class Row(msgspec.Struct, frozen=True, order=True):
    created_at: datetime
    id: UUID


def list_rows(rows: list[Row], limit: int, cursor: str | None) -> Page[Row]:
    """Do what a query does."""
    after = (datetime.min.replace(tzinfo=UTC), UUID(int=0)) if cursor is None else sort_key(cursor, Key)
    found = sorted(row for row in rows if (row.created_at, row.id) > after)
    return page(found[: limit + 1], limit, lambda row: (row.created_at, row.id))


@given(
    st.lists(st.builds(Row, created_at=moments, id=st.uuids()), max_size=40, unique_by=lambda row: row.id),
    st.integers(1, 9),
)
def test_walking_the_pages_gives_every_row_once_in_order(rows: list[Row], limit: int) -> None:
    seen: list[Row] = []
    cursor = None
    while True:
        found = list_rows(rows, limit, cursor)
        assert len(found.items) <= limit
        seen += found.items
        cursor = found.next
        if cursor is None:
            break
        assert found.items, "a page before the last is not empty"
    assert seen == sorted(rows)


@given(st.lists(st.integers(0, 2**63 - 1), max_size=12), st.integers(1, 12))
def test_a_page_has_a_next_where_there_is_more(rows: list[int], limit: int) -> None:
    found = page(rows[: limit + 1], limit, lambda row: (row,))
    assert list(found.items) == rows[:limit]
    assert (found.next is not None) == (len(rows) > limit)


@given(
    st.text(max_size=80) | st.binary(max_size=60).map(lambda raw: base64.urlsafe_b64encode(raw).decode().rstrip("="))
)
@example("")
@example("ü")
@example("A")
@example("=====")
@example("AAAA")
@example(cursor_of(["2020-01-01T00:00:00", str(uuid4())]))  # without a time zone
@example(cursor_of(["2020-01-01T00:00:00Z", str(uuid4()), 1]))
@example(cursor_of({"a": 1}))
@example(cursor_of([[]] * 20))
def test_a_cursor_of_no_list_is_refused(cursor: str) -> None:
    kinds: list[Any] = [tuple[UUID], Key, NumberKey]
    for kind in kinds:
        # Hypothesis may find one that is good.
        with contextlib.suppress(InvalidInput):
            assert isinstance(sort_key(cursor, kind), tuple)


def test_a_refusal_names_the_parameter() -> None:
    with pytest.raises(InvalidInput) as refused:
        sort_key("AAAA", NumberKey)
    assert [fault.parameter for fault in refused.value.errors] == ["cursor"]


def test_a_cursor_of_another_list_is_refused() -> None:
    with pytest.raises(InvalidInput):
        sort_key(cursor_of((7,)), Key)
    with pytest.raises(InvalidInput):
        sort_key(cursor_of((datetime.now(UTC), uuid4())), NumberKey)


@pytest.mark.parametrize("number", [-1, 2**63, 1.5, "7", None, True])
def test_a_number_that_no_row_can_have_is_refused(number: object) -> None:
    with pytest.raises(InvalidInput):
        sort_key(cursor_of((number,)), NumberKey)


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=23, minutes=59))).isoformat(),
        datetime(9999, 12, 31, 23, 59, tzinfo=timezone(-timedelta(hours=23, minutes=59))).isoformat(),
    ],
)
def test_a_moment_that_utc_does_not_have_is_refused(moment: str) -> None:
    with pytest.raises(InvalidInput):
        sort_key(cursor_of((moment, str(uuid4()))), Key)
