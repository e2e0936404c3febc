"""A calendar as people write it down: what times on which days, where."""

from datetime import date
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Meta

from courtyard.kernel.schema import Input, Name

TimeZone = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$(?!\n)",
        description="The name of a time zone in the IANA database.",
        examples=["Europe/Helsinki"],
    ),
]
WallTime = Annotated[
    str,
    Meta(
        max_length=5,
        pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$(?!\n)",
        description="Hours and minutes as a clock on the wall shows them; 24:00 is the end of the day.",
        examples=["09:00"],
    ),
]


def is_time_zone(name: str) -> bool:
    """Return whether the time zone database knows a zone."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError):
        return False
    return True


class Span(Input, frozen=True):
    """From one time of day to another, which is not part of it.

    Attributes:
        opens: when it begins.
        closes: when it ends. Where that is no later than its beginning, it ends on the next day.
    """

    opens: WallTime
    closes: WallTime

    def __post_init__(self) -> None:
        """Refuse what no type can say.

        Raises:
            ValueError: it begins when a day has ended, or ends when it begins.
        """
        if self.opens == "24:00":
            raise ValueError("opens: is before the end of the day")
        if self.opens == self.closes:
            raise ValueError("closes: is another time than opens; a whole day is 00:00 to 24:00")


Spans = Annotated[tuple[Span, ...], Meta(max_length=12)]


class Week(Input, frozen=True):
    """The spans that begin on each day of the week. They may overlap: what counts is whether any is open."""

    monday: Spans = ()
    tuesday: Spans = ()
    wednesday: Spans = ()
    thursday: Spans = ()
    friday: Spans = ()
    saturday: Spans = ()
    sunday: Spans = ()


class SpecialDay(Input, frozen=True):
    """A day with spans of its own instead of those of the week, such as a holiday, which has none.

    What began on the day before goes on to its end.

    Attributes:
        on: the day.
        spans: what begins on it.
        yearly: whether it is that day of each year from then on. A day that is named by itself goes before.
        name: what it is called.
    """

    on: date
    spans: Spans = ()
    yearly: bool = False
    name: Name | None = None


class Calendar(Input, frozen=True):
    """When something is open.

    Attributes:
        time_zone: where the clocks hang.
        week: the spans of each week.
        special_days: the days that are not as in each week; the last one of a day counts.
        first_day: nothing begins before; None for no such day.
        last_day: nothing begins after it; None for no such day.
    """

    time_zone: TimeZone
    week: Week = Week()
    special_days: Annotated[tuple[SpecialDay, ...], Meta(max_length=1_000)] = ()
    first_day: date | None = None
    last_day: date | None = None

    def __post_init__(self) -> None:
        """Refuse what no type can say.

        Raises:
            ValueError: there is no such time zone, or the last day is before the first.
        """
        if not is_time_zone(self.time_zone):
            raise ValueError("time_zone: there is no such time zone")
        if self.first_day is not None and self.last_day is not None and self.last_day < self.first_day:
            raise ValueError("last_day: is not before first_day")
