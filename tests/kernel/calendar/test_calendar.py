"""What a calendar says of moments, and that a slow reference, which looks at every minute, says the same."""

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from random import Random
from zoneinfo import ZoneInfo

import msgspec
import pytest

from courtyard.kernel.calendar import HORIZON, Calendar, Hours, OpenSpan, Span, SpecialDay, Week

ZONES = sorted(zoneinfo.available_timezones())
# Clocks are changed there, each in a way of its own: half an hour, twice a year in the south, a day that was left out,
# at midnight, and a negative summer time.
ODD_ZONES = (
    "Europe/Helsinki",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "Pacific/Apia",
    "Asia/Beirut",
    "Europe/Dublin",
    "Africa/Casablanca",
    "America/Santiago",
    "Antarctica/Troll",
)
# They changed their clocks at one minute past midnight until 2011.
AT_ONE_MINUTE_PAST = {"America/St_Johns", "America/Goose_Bay", "America/Moncton", "Canada/Newfoundland"}
MINUTE = timedelta(minutes=1)
STEP = 5 * MINUTE
DAY = timedelta(days=1)


def at(zone: str, *parts: int, fold: int = 0) -> datetime:
    """Return a moment by the clock on a wall."""
    return datetime(*parts, tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)  # type: ignore[arg-type, misc]


def _open_time(hours: Hours, begin: datetime, end: datetime) -> timedelta:
    return sum((span.end - span.begin for span in hours.spans(begin, end)), timedelta(0))


def nine_to_five(zone: str = "Europe/Helsinki", **more: object) -> Hours:
    """Return the hours of an office with a break."""
    spans = (Span("09:00", "12:00"), Span("13:00", "17:00"))
    week = Week(monday=spans, tuesday=spans, wednesday=spans, thursday=spans, friday=spans)
    return Hours(Calendar(zone, week, **more))  # type: ignore[arg-type]


class TestOfficeHours:
    """An office in Helsinki."""

    def test_several_spans_a_day(self) -> None:
        hours = nine_to_five()
        day = at("Europe/Helsinki", 2026, 11, 23)
        assert [*hours.spans(day, day + DAY)] == [
            OpenSpan(at("Europe/Helsinki", 2026, 11, 23, 9), at("Europe/Helsinki", 2026, 11, 23, 12)),
            OpenSpan(at("Europe/Helsinki", 2026, 11, 23, 13), at("Europe/Helsinki", 2026, 11, 23, 17)),
        ]

    def test_an_end_is_not_open(self) -> None:
        hours = nine_to_five()
        assert hours.is_open(at("Europe/Helsinki", 2026, 11, 23, 9))
        assert not hours.is_open(at("Europe/Helsinki", 2026, 11, 23, 12))

    def test_back_at(self) -> None:
        hours = nine_to_five()
        friday_evening = at("Europe/Helsinki", 2026, 11, 27, 18)
        back = hours.next_open(friday_evening)
        # For somebody in Lisbon, who reads it on another clock.
        assert back is not None
        assert back.astimezone(ZoneInfo("Europe/Lisbon")).isoformat() == "2026-11-30T07:00:00+00:00"
        assert hours.next_closed(back) == at("Europe/Helsinki", 2026, 11, 30, 12)

    def test_a_holiday_and_an_exception(self) -> None:
        independence = SpecialDay(date(2000, 12, 6), yearly=True, name="Independence Day")
        hours = nine_to_five(special_days=(independence, SpecialDay(date(2027, 12, 6), (Span("10:00", "11:00"),))))
        assert not hours.is_open(at("Europe/Helsinki", 2028, 12, 6, 10))
        # That day alone, which goes before what is so every year.
        day = at("Europe/Helsinki", 2027, 12, 6)
        assert _open_time(hours, day, day + DAY) == timedelta(hours=1)

    def test_so_much_open_time_later(self) -> None:
        hours = nine_to_five()
        friday = at("Europe/Helsinki", 2026, 11, 27, 16)
        assert hours.after(friday, timedelta(hours=2)) == at("Europe/Helsinki", 2026, 11, 30, 10)
        assert hours.after(friday, timedelta(hours=1)) == at("Europe/Helsinki", 2026, 11, 27, 17)
        assert hours.after(friday, timedelta(days=500)) is None

    def test_a_shift_for_a_time(self) -> None:
        hours = nine_to_five(first_day=date(2026, 11, 24), last_day=date(2026, 11, 25))
        assert hours.next_open(at("Europe/Helsinki", 2026, 1, 1)) == at("Europe/Helsinki", 2026, 11, 24, 9)
        assert hours.next_open(at("Europe/Helsinki", 2026, 11, 25, 17)) is None


class TestNight:
    """A help line at night."""

    EVERY_NIGHT = (Span("22:00", "06:00"),)
    WEEK = Week(*(EVERY_NIGHT,) * 7)

    def test_what_began_before_a_holiday_goes_on_to_its_end(self) -> None:
        hours = Hours(Calendar("Europe/Helsinki", self.WEEK, (SpecialDay(date(2026, 12, 24)),)))
        assert hours.next_closed(at("Europe/Helsinki", 2026, 12, 23, 23)) == at("Europe/Helsinki", 2026, 12, 24, 6)
        assert hours.next_open(at("Europe/Helsinki", 2026, 12, 24, 6)) == at("Europe/Helsinki", 2026, 12, 25, 22)

    @pytest.mark.parametrize(("day", "length"), [((2026, 3, 28), 7), ((2026, 10, 24), 9), ((2026, 5, 1), 8)])
    def test_a_night_in_which_clocks_are_changed(self, day: tuple[int, int, int], length: int) -> None:
        hours = Hours(Calendar("Europe/Helsinki", self.WEEK))
        noon = at("Europe/Helsinki", *day, 12)
        assert _open_time(hours, noon, noon + DAY) == timedelta(hours=length)

    def test_what_lies_in_the_hour_that_comes_twice_takes_place_twice(self) -> None:
        week = Week(sunday=(Span("03:00", "03:30"),))
        day = at("Europe/Helsinki", 2026, 10, 25)
        assert len([*Hours(Calendar("Europe/Helsinki", week)).spans(day, day + DAY)]) == 2

    def test_what_lies_in_the_hour_that_is_skipped_does_not_take_place(self) -> None:
        week = Week(sunday=(Span("03:00", "03:30"), Span("03:45", "05:00")))
        day = at("Europe/Helsinki", 2026, 3, 29)
        assert [*Hours(Calendar("Europe/Helsinki", week)).spans(day, day + DAY)] == [
            OpenSpan(at("Europe/Helsinki", 2026, 3, 29, 4), at("Europe/Helsinki", 2026, 3, 29, 5))
        ]

    def test_a_day_that_a_country_left_out(self) -> None:
        # Samoa went from Thursday to Saturday.
        week = Week(friday=(Span("00:00", "24:00"),))
        assert not [
            *Hours(Calendar("Pacific/Apia", week)).spans(
                datetime(2011, 12, 29, tzinfo=UTC), datetime(2012, 1, 2, tzinfo=UTC)
            )
        ]


def test_always_open_never_closes() -> None:
    hours = Hours(Calendar("UTC", Week(*((Span("00:00", "24:00"),),) * 7)))
    now = datetime(2026, 11, 21, tzinfo=UTC)
    assert hours.next_closed(now) is None
    assert [*hours.spans(now, now + HORIZON)] == [OpenSpan(now, now + HORIZON)]


def test_never_open() -> None:
    hours = Hours(Calendar("UTC"))
    now = datetime(2026, 11, 21, tzinfo=UTC)
    assert hours.next_open(now) is None
    assert hours.next_closed(now) == now
    assert _open_time(hours, now, now + HORIZON) == timedelta(0)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ('{"time_zone": "Europe/Atlantis"}', "time_zone"),
        ('{"time_zone": "../etc/passwd"}', "time_zone"),
        ('{"time_zone": "UTC", "week": {"monday": [{"opens": "24:00", "closes": "01:00"}]}}', "opens"),
        ('{"time_zone": "UTC", "week": {"monday": [{"opens": "9:00", "closes": "10:00"}]}}', "opens"),
        ('{"time_zone": "UTC", "week": {"monday": [{"opens": "09:00", "closes": "09:00"}]}}', "closes"),
        ('{"time_zone": "UTC", "first_day": "2026-02-02", "last_day": "2026-02-01"}', "last_day"),
        ('{"time_zone": "UTC", "week": {"mondays": []}}', "mondays"),
    ],
)
def test_what_is_no_calendar(document: str, told: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=told):
        msgspec.json.decode(document, type=Calendar)


# ----------------------------------------------------------------------------------------- the slow reference


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


@lru_cache(maxsize=1_000)
def _changes(zone: str, year: int) -> list[datetime]:
    """Return when, to six hours, the clocks of a zone are changed in a year."""
    tz = ZoneInfo(zone)
    moments = (datetime(year, 1, 1, tzinfo=UTC) + number * timedelta(hours=6) for number in range(366 * 4))
    offsets = [(moment, moment.astimezone(tz).utcoffset()) for moment in moments]
    return [later for (_, old), (later, new) in pairwise(offsets) if old != new]


class Cases:
    """Calendars, and moments around which clocks are often changed; the same ones for the same seed.

    All times are multiples of five minutes, as the distances of all zones from UTC in these years are.
    """

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def next(self) -> tuple[Calendar, datetime]:
        """Return another one."""
        random = self._random
        zone = random.choice([random.choice(ODD_ZONES), random.choice(ZONES)])
        year = random.randint(1975, 2035)
        changes = _changes(zone, year)
        if changes and random.randrange(4):
            moment = random.choice(changes) - random.randint(0, 40) * timedelta(hours=1)
        else:
            moment = datetime(year, 1, 1, tzinfo=UTC) + random.randrange(365 * 288) * STEP
        day = moment.date()
        calendar = Calendar(
            zone,
            Week(*(self._spans() for _ in range(7))),
            tuple(
                SpecialDay(day + random.randint(-2, 3) * DAY, self._spans(), yearly=random.random() < 0.5)
                for _ in range(random.randint(0, 2))
            ),
            random.choice([None, None, day]),
            random.choice([None, None, day + DAY]),
        )
        return calendar, moment

    def _spans(self) -> tuple[Span, ...]:
        times = (sorted(self._random.sample(range(289), 2)) for _ in range(self._random.randint(0, 3)))
        # The later one first is a span over midnight.
        swapped = (
            (late, early) if late < 288 and self._random.random() < 0.3 else (early, late) for early, late in times
        )
        return tuple(Span(_clock(5 * opens), _clock(5 * closes)) for opens, closes in swapped)


def _begun(calendar: Calendar, day: date) -> list[tuple[datetime, datetime]]:
    """Return what begins on a day, on the wall, by the letter of the calendar."""
    if not (calendar.first_day or date.min) <= day <= (calendar.last_day or date.max):
        return []
    named = [each.spans for each in calendar.special_days if not each.yearly and each.on == day]
    yearly = [
        each for each in calendar.special_days if each.yearly and (each.on.month, each.on.day) == (day.month, day.day)
    ]
    by_year = [each.spans for each in yearly[-1:] if each.on.year <= day.year]
    week = calendar.week
    usual = (week.monday, week.tuesday, week.wednesday, week.thursday, week.friday, week.saturday, week.sunday)
    begun = []
    for span in (named or by_year or [usual[day.weekday()]])[-1]:
        opens = datetime.combine(day, time()) + timedelta(hours=int(span.opens[:2]), minutes=int(span.opens[3:]))
        closes = datetime.combine(day, time()) + timedelta(hours=int(span.closes[:2]), minutes=int(span.closes[3:]))
        begun.append((opens, closes if closes > opens else closes + DAY))
    return begun


def _reference(calendar: Calendar, begin: datetime, end: datetime) -> Iterator[OpenSpan]:
    """Look at one moment after the other."""
    zone = ZoneInfo(calendar.time_zone)
    step = MINUTE if calendar.time_zone in AT_ONE_MINUTE_PAST else STEP
    begun: dict[date, list[tuple[datetime, datetime]]] = {}
    opened, moment = None, begin
    while moment < end:
        wall = moment.astimezone(zone).replace(tzinfo=None)
        day = wall.date()
        if day not in begun:
            begun[day] = [*_begun(calendar, day - DAY), *_begun(calendar, day)]
        if any(opens <= wall < closes for opens, closes in begun[day]):
            opened = opened or moment
        elif opened is not None:
            yield OpenSpan(opened, moment)
            opened = None
        moment += step
    if opened is not None:
        yield OpenSpan(opened, end)


@pytest.mark.parametrize("number", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_it_agrees_with_the_reference(number: int) -> None:
    cases = Cases(seed=number)
    changed = 0
    for _ in range(number):
        calendar, moment = cases.next()
        hours, end = Hours(calendar), moment + 2 * DAY
        expected = [*_reference(calendar, moment, end)]
        assert [*hours.spans(moment, end)] == expected, (calendar, moment)
        changed += (
            moment.astimezone(ZoneInfo(calendar.time_zone)).utcoffset()
            != end.astimezone(ZoneInfo(calendar.time_zone)).utcoffset()
        )
        for span in expected[:2]:
            assert hours.is_open(span.begin)
            assert hours.next_open(span.begin - MINUTE) in {span.begin, span.begin - MINUTE}
            assert span.end == end or hours.next_closed(span.begin) == span.end
            assert not hours.is_open(span.end) or span.end == end
    # Of which a good part is about clocks that are changed.
    assert changed > number / 4
