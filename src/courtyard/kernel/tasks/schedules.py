"""When something is done again and again: intervals and cron lines, with time zones. Pure, without I/O."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Literal
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from courtyard.kernel.tasks.declarations import MAX_NAME, Task

# Of those that nobody was there for, no more are caught up with at once.
MAX_MISSED = 1_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A task of the installation that is asked for again and again, once across all processes.

    Either `every_seconds` or `cron` is given. Where the clocks of a time zone are changed, a cron line does as that of
    Debian does: what falls into the skipped hour is done right behind it, and nothing is done twice in the hour that
    comes twice, unless it is done every hour anyway.

    Attributes:
        name: begins with that of its part.
        task: what is done.
        payload: with what.
        every_seconds: the interval, counted from 1970, so that a restart does not move it.
        cron: minute, hour, day, month, day of the week, such as `0 3 * * MON`.
        time_zone: of the cron line.
        missed: what becomes of several that are due because nobody was there: `skip` does the newest alone and none
            while the last one is under way; `catch_up` does each of them.
    """

    name: str
    task: Task[Any]
    payload: Any
    every_seconds: float | None = None
    cron: str | None = None
    time_zone: str = "UTC"
    missed: Literal["skip", "catch_up"] = "skip"

    def __post_init__(self) -> None:
        if (self.every_seconds is None) == (self.cron is None):
            raise ValueError(f"{self.name}: a schedule has either an interval or a cron line")
        if self.every_seconds is not None and self.every_seconds <= 0:
            raise ValueError(f"{self.name}: an interval is greater than 0")
        if not 0 < len(self.name) <= MAX_NAME:
            raise ValueError(f"{self.name}: names are not that long")
        try:
            next(iter(self.after(_EPOCH)))
        except (CronSimError, StopIteration, KeyError) as error:
            raise ValueError(f"{self.name}: {self.plan} is not a plan: {error}") from None

    @property
    def plan(self) -> str:
        """When it is done, in a line."""
        return f"every {self.every_seconds:g} s" if self.cron is None else f"{self.cron} {self.time_zone}"

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Yield the times at which it is done, all later than a moment, in UTC."""
        if self.cron is not None:
            local = moment.astimezone(ZoneInfo(self.time_zone))
            yield from (each.astimezone(UTC) for each in CronSim(self.cron, local))
            return
        step = timedelta(seconds=self.every_seconds or 0)
        number = (moment - _EPOCH) // step
        while True:
            number += 1
            yield _EPOCH + number * step

    def next_after(self, moment: datetime) -> datetime:
        """Return the first time later than a moment."""
        return next(iter(self.after(moment)))

    def due(self, first: datetime, now: datetime) -> list[datetime]:
        """Return the times from the first that is due until now, of which some may have been missed."""
        times = [first]
        for each in islice(self.after(first), MAX_MISSED - 1):
            if each > now:
                break
            times.append(each)
        return times
