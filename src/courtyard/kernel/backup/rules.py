"""Which archives stay. Pure, without I/O."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from courtyard.kernel.settings import BackupSettings


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How many stay, each number counted by itself, as restic and Borg do. All zero: everything stays.

    Attributes:
        last: the newest.
        daily: the newest of each of so many days that have one, counted from the newest day.
        weekly: of each week (ISO 8601).
        monthly: of each month.
    """

    last: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0

    @classmethod
    def of(cls, settings: BackupSettings) -> "Rule":
        """Return what the settings say."""
        return cls(
            last=settings.keep_last,
            daily=settings.keep_daily,
            weekly=settings.keep_weekly,
            monthly=settings.keep_monthly,
        )

    def kept(self, moments: Collection[datetime]) -> set[datetime]:
        """Return which of these moments stay, in UTC. The newest always does.

        >>> sorted(each.day for each in Rule(daily=2).kept([datetime(2026, 1, day, tzinfo=UTC) for day in (1, 5, 9)]))
        [5, 9]
        """
        counts: tuple[tuple[int, Callable[[datetime], object]], ...] = (
            (self.last, lambda moment: moment),
            (self.daily, lambda moment: moment.date()),
            (self.weekly, lambda moment: moment.isocalendar()[:2]),
            (self.monthly, lambda moment: (moment.year, moment.month)),
        )
        newest_first = sorted(moments, reverse=True)
        if not any(count for count, _ in counts):
            return set(newest_first)
        kept = set(newest_first[:1])
        for count, period_of in counts:
            newest: dict[object, datetime] = {}
            for moment in newest_first:
                newest.setdefault(period_of(moment.astimezone(UTC)), moment)
            kept.update(list(newest.values())[:count])
        return kept
