"""Who can be let in, how often somebody is written to, and for how long an offer is good."""

from datetime import datetime, timedelta

import msgspec

MAIL_PAUSE = timedelta(minutes=1)
DAY = timedelta(days=1)
# After this, who was invited where is forgotten.
KEEP_SETTLED = timedelta(days=90)


class Mailed(msgspec.Struct, frozen=True):
    """How often an address has been written to.

    Attributes:
        mails: since `counted_from`.
        counted_from: the first mail of the day that counts.
        mailed_at: the last mail.
    """

    mails: int
    counted_from: datetime
    mailed_at: datetime


def is_let_in(email: str | None, domains: list[str]) -> bool:
    """Return whether an address is of one of the domains; without domains every address is."""
    return not domains or (email is not None and email.rpartition("@")[2] in domains)


def mail_once_more(before: Mailed | None, now: datetime, per_day: int) -> Mailed | timedelta:
    """Return the count with one more mail to an address, or how long to wait for that.

    Args:
        before: the count so far, None where the address has not been written to.
        now: the time.
        per_day: the most mails in a day.
    """
    if before is None:
        return Mailed(1, now, now)
    if before.mailed_at + MAIL_PAUSE > now:
        return before.mailed_at + MAIL_PAUSE - now
    if before.counted_from + DAY <= now:
        return Mailed(1, now, now)
    if before.mails >= per_day:
        return before.counted_from + DAY - now
    return Mailed(before.mails + 1, before.counted_from, now)


def days_left(until: datetime, now: datetime) -> int:
    """Return for how many days something is good, rounded, at least one."""
    return max(1, round((until - now) / DAY))
