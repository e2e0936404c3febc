"""The audit trail, as far as it is written: what an entry holds, what is left out of it, and how it gets a name.

Stands on the database. Knows neither requests nor people: whoever brings something in describes itself by an `Origin`.
Reading, sealing and verifying are in `audit`, above the web layer.
"""

from courtyard.kernel.trail.gate import Gate
from courtyard.kernel.trail.models import AuditChainRow, AuditEntryRow, AuditPendingRow, AuditSealRow
from courtyard.kernel.trail.names import LIMITED, REFUSED, AuditNames
from courtyard.kernel.trail.origin import Described, Origin, OriginKind
from courtyard.kernel.trail.recorder import Note, Recorder
from courtyard.kernel.trail.rules import GENESIS, canonical, chained
from courtyard.kernel.trail.store import Entry, in_chunks, write

__all__ = [
    "GENESIS",
    "LIMITED",
    "REFUSED",
    "AuditChainRow",
    "AuditEntryRow",
    "AuditNames",
    "AuditPendingRow",
    "AuditSealRow",
    "Described",
    "Entry",
    "Gate",
    "Note",
    "Origin",
    "OriginKind",
    "Recorder",
    "canonical",
    "chained",
    "in_chunks",
    "write",
]
