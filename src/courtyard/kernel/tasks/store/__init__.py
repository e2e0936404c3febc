"""The rows: which tasks wait, who has taken them, what became of them, and when schedules are due."""

from courtyard.kernel.tasks.store.counting import QueueCount, count_failed, count_live
from courtyard.kernel.tasks.store.schedules import Planned, move_on, note_task, plan, plan_anew, planned
from courtyard.kernel.tasks.store.sending import Unsent, hand_to_broker, not_sent, to_send
from courtyard.kernel.tasks.store.tasks import (
    Beat,
    Claimed,
    Progress,
    beat,
    cancel,
    note_progress,
    postponing,
    prune,
    replay,
    settle_many,
    settling,
    take,
    take_limited,
    take_one,
)

__all__ = [
    "Beat",
    "Claimed",
    "Planned",
    "Progress",
    "QueueCount",
    "Unsent",
    "beat",
    "cancel",
    "count_failed",
    "count_live",
    "hand_to_broker",
    "move_on",
    "not_sent",
    "note_progress",
    "note_task",
    "plan",
    "plan_anew",
    "planned",
    "postponing",
    "prune",
    "replay",
    "settle_many",
    "settling",
    "take",
    "take_limited",
    "take_one",
    "to_send",
]
