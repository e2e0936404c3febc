"""The names of entries: `source:subject:action`, all declared, so that a page can list them."""

import re
from collections.abc import Iterator, Sequence

from sqlalchemy import Table

from courtyard.kernel.application import Application
from courtyard.kernel.database import AUDIT_MARK, Audited

NAME = re.compile(r"[a-z][a-z0-9_]*(:[a-z][a-z0-9_]*){2}")
# Longest of the three words together.
MAX_LENGTH = 150
REFUSED = "access:permission:refused"
LIMITED = "access:limit:reached"
ACTIONS = ("created", "updated", "deleted")


class AuditNames:
    """Every name that an entry of this installation can have.

    Attributes:
        described: name → what happened, in a sentence.

    Args:
        parts: the modules of the kernel and the applications.

    Raises:
        ValueError: a part declares what is no such name.
    """

    def __init__(self, parts: Sequence[Application]) -> None:
        self.described: dict[str, str] = {}
        self._subjects: dict[str, str] = {}
        for part in parts:
            for table in _audited_tables(part):
                word = table.name.removeprefix(f"{part.name}_")
                self._subjects[table.name] = f"{part.name}:{word}"
                for action in ACTIONS:
                    self.described[f"{part.name}:{word}:{action}"] = f"A row of `{table.name}` was {action}."
            self.described |= part.audit_names
        wrong = sorted(name for name in self.described if not NAME.fullmatch(name) or len(name) > MAX_LENGTH)
        if wrong:
            raise ValueError(f"an audit name is source:subject:action, in lower-case words: {', '.join(wrong)}")

    def of_change(self, table: Table, action: str) -> str:
        """Return the name of a change that its service has not named."""
        return f"{self._subjects.get(table.name, f'unknown:{table.name}')}:{action}"

    def declared(self, name: str) -> str:
        """Return a name that somebody declares.

        Raises:
            ValueError: nobody does.
        """
        if name not in self.described:
            raise ValueError(f"no part declares the audit name {name!r} (Application.audit_names)")
        return name


def _audited_tables(part: Application) -> Iterator[Table]:
    for model in part.models:
        table = model.__table__
        if isinstance(table, Table) and isinstance(table.info.get(AUDIT_MARK), Audited):
            yield table
