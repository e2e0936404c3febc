"""What a calendar says of moments. Pure, without I/O.

A moment is open where the clock on the wall then shows a time in a span. So a span that begins in the hour that is
skipped when clocks go forward begins right behind it, one that lies in it whole does not take place, and one in the
hour that comes twice takes place twice.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from courtyard.kernel.calendar.schemas import Calendar, Span

# How far ahead an opening or a closing is looked for: a year, and what a holiday may have moved.
HORIZON = timedelta(days=400)
_DAY = timedelta(days=1)
# Zones keep an offset for longer than this: since 1970, for the better part of a week at least.
_LOOK = timedelta(hours=12)
_SECOND = timedelta(seconds=1)


class OpenSpan(NamedTuple):
    """A stretch of time, without its end, in UTC."""

    begin: datetime
    end: datetime


class Hours:
    """A calendar to be asked. Moments are aware of their zone; answers are in UTC.

    Args:
        calendar: what it is made of.
    """

    def __init__(self, calendar: Calendar) -> None:
        self._zone = ZoneInfo(calendar.time_zone)
        week = calendar.week
        days = (week.monday, week.tuesday, week.wednesday, week.thursday, week.friday, week.saturday, week.sunday)
        self._week = [_on_the_wall(spans) for spans in days]
        self._days = {day.on: _on_the_wall(day.spans) for day in calendar.special_days if not day.yearly}
        self._yearly = {
            (day.on.month, day.on.day): (day.on.year, _on_the_wall(day.spans))
            for day in calendar.special_days
            if day.yearly
        }
        self._first = calendar.first_day or date.min
        self._last = calendar.last_day or date.max

    def is_open(self, moment: datetime) -> bool:
        """Return whether a moment is open."""
        wall = moment.astimezone(self._zone).replace(tzinfo=None)
        return any(begin <= wall < end for begin, end in self._of_days(wall.date() - _DAY, wall.date()))

    def spans(self, begin: datetime, end: datetime) -> Iterator[OpenSpan]:
        """Yield what is open from one moment until another, in order, with a pause between each two."""
        begun: OpenSpan | None = None
        for piece in self._pieces(begin.astimezone(UTC), end.astimezone(UTC)):
            if begun is None:
                begun = piece
            elif piece.begin <= begun.end:
                begun = OpenSpan(begun.begin, max(begun.end, piece.end))
            else:
                yield begun
                begun = piece
        if begun is not None:
            yield begun

    def next_open(self, moment: datetime) -> datetime | None:
        """Return the first open moment that is not earlier than another one; None where there is none in `HORIZON`."""
        found = next(self.spans(moment, moment + HORIZON), None)
        return None if found is None else found.begin

    def next_closed(self, moment: datetime) -> datetime | None:
        """Return the first closed moment that is not earlier than another one; None where `HORIZON` has none."""
        moment = moment.astimezone(UTC)
        found = next(self.spans(moment, moment + HORIZON), None)
        if found is None or found.begin > moment:
            return moment
        return found.end if found.end < moment + HORIZON else None

    def after(self, moment: datetime, amount: timedelta) -> datetime | None:
        """Return the moment by which so much time has been open; None where that takes longer than `HORIZON`."""
        for begin, end in self.spans(moment, moment + HORIZON):
            if end - begin >= amount:
                return begin + amount
            amount -= end - begin
        return None

    def _pieces(self, begin: datetime, end: datetime) -> Iterator[OpenSpan]:
        """Yield what is open, in the order of its beginnings; pieces may touch and overlap."""
        for first, last, offset in _stretches(self._zone, begin, end):
            wall_begin, wall_end = (moment.replace(tzinfo=None) + offset for moment in (first, last))
            for opens, closes in self._of_days(wall_begin.date() - _DAY, wall_end.date()):
                opened, closed = max(opens, wall_begin), min(closes, wall_end)
                if opened < closed:
                    yield OpenSpan(*((wall - offset).replace(tzinfo=UTC) for wall in (opened, closed)))

    def _of_days(self, first: date, last: date) -> Iterator[tuple[datetime, datetime]]:
        """Yield what begins on each day, on the wall, in the order of the beginnings."""
        day = max(first, self._first)
        while day <= min(last, self._last):
            midnight = datetime.combine(day, time())
            for opens, closes in self._on(day):
                yield midnight + opens, midnight + closes
            day += _DAY

    def _on(self, day: date) -> "_Spans":
        spans = self._days.get(day)
        if spans is None:
            since, yearly = self._yearly.get((day.month, day.day), (day.year + 1, []))
            spans = yearly if since <= day.year else self._week[day.weekday()]
        return spans


_Spans = list[tuple[timedelta, timedelta]]


def _on_the_wall(spans: tuple[Span, ...]) -> _Spans:
    """Return spans as times since midnight, in their order."""
    walls = ((_since_midnight(span.opens), _since_midnight(span.closes)) for span in spans)
    return sorted((opens, closes if closes > opens else closes + _DAY) for opens, closes in walls)


def _since_midnight(wall_time: str) -> timedelta:
    return timedelta(hours=int(wall_time[:2]), minutes=int(wall_time[3:]))


def _stretches(zone: ZoneInfo, begin: datetime, end: datetime) -> Iterator[tuple[datetime, datetime, timedelta]]:
    """Yield the stretches of UTC in which the clocks of a zone are not changed, with their distance from UTC."""
    since, offset = begin, _offset(zone, begin)
    seen = begin
    while seen < end:
        ahead = min(seen + _LOOK, end)
        if (changed := _offset(zone, ahead)) != offset:
            change = _change(zone, seen, ahead)
            yield since, change, offset
            since, offset = change, changed
        seen = ahead
    if since < end:
        yield since, end, offset


def _change(zone: ZoneInfo, before: datetime, behind: datetime) -> datetime:
    """Return the second at which the clocks are changed between two moments."""
    old = _offset(zone, before)
    before = before.replace(microsecond=0)
    while behind - before > _SECOND:
        middle = before + (behind - before) // (2 * _SECOND) * _SECOND
        if _offset(zone, middle) == old:
            before = middle
        else:
            behind = middle
    return before + _SECOND


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    offset = moment.astimezone(zone).utcoffset()
    return timedelta(0) if offset is None else offset
