"""Which archives stay: the newest always, and of each period the newest."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from courtyard.kernel.backup.rules import Rule
from courtyard.kernel.settings import BackupSettings

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
MOMENTS = st.sets(st.integers(0, 3 * 365 * 24).map(lambda hours: FIRST + timedelta(hours=hours)), max_size=60)
COUNTS = st.integers(0, 8)
RULES = st.builds(Rule, last=COUNTS, daily=COUNTS, weekly=COUNTS, monthly=COUNTS)


def days(*numbers: int) -> set[datetime]:
    return {FIRST + timedelta(days=number) for number in numbers}


def test_each_number_counts_by_itself() -> None:
    nightly = days(*range(100))
    assert Rule(last=3).kept(nightly) == days(97, 98, 99)
    assert Rule(daily=3).kept(nightly | {each + timedelta(hours=3) for each in days(99)}) == {
        *days(97, 98),
        FIRST + timedelta(days=99, hours=3),
    }
    # The first of January 2026 is a Thursday: weeks end with the days 3, 10, …; months with 30, 58, 89.
    assert Rule(weekly=3).kept(nightly) == days(87, 94, 99)
    assert Rule(monthly=3).kept(nightly) == days(58, 89, 99)
    assert Rule(last=1, monthly=2).kept(nightly) == days(89, 99)


def test_a_week_goes_on_over_the_new_year() -> None:
    old_and_new = {datetime(2026, 12, 31, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)}
    assert Rule(weekly=2).kept(old_and_new) == {datetime(2027, 1, 1, tzinfo=UTC)}


def test_the_settings_say_which() -> None:
    settings = BackupSettings(keep_last=1, keep_daily=2, keep_weekly=3, keep_monthly=4)
    assert Rule.of(settings) == Rule(last=1, daily=2, weekly=3, monthly=4)


@given(MOMENTS)
def test_without_a_rule_everything_stays(moments: set[datetime]) -> None:
    assert Rule().kept(moments) == moments


@given(RULES, MOMENTS)
def test_the_newest_stays_and_nothing_is_invented(rule: Rule, moments: set[datetime]) -> None:
    kept = rule.kept(moments)
    assert kept <= moments
    assert not moments or max(moments) in kept
    asked = rule.last + rule.daily + rule.weekly + rule.monthly
    assert asked == 0 or len(kept) <= max(1, asked)
    assert rule.kept(kept) == kept


@given(RULES, MOMENTS)
def test_to_tidy_after_each_is_to_tidy_once(rule: Rule, moments: set[datetime]) -> None:
    left = set[datetime]()
    for moment in sorted(moments):
        left = rule.kept(left | {moment})
    assert left == rule.kept(moments)


@given(RULES, MOMENTS, st.integers(1, 3))
def test_who_asks_for_more_keeps_no_less(rule: Rule, moments: set[datetime], more: int) -> None:
    wider = Rule(last=rule.last + more, daily=rule.daily + more, weekly=rule.weekly, monthly=rule.monthly)
    asked = rule.last + rule.daily + rule.weekly + rule.monthly
    assert asked == 0 or rule.kept(moments) <= wider.kept(moments)
