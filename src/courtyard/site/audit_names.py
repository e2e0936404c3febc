"""The page of the names in the audit log, from the declarations of all parts."""

from collections.abc import Sequence

from courtyard.kernel.application import Application
from courtyard.kernel.trail import AuditNames

INTRODUCTION = """\
# Names in the audit log

Made from the code by `courtyard audit-names --write`; do not edit it by hand.

Every entry has a name of three words, `source:subject:action`. Filters and alerts can rely on it: a name that is not
listed here is not written.
"""


def audit_names_page(parts: Sequence[Application]) -> str:
    """Return the page as Markdown."""
    sections = [INTRODUCTION]
    by_source: dict[str, list[str]] = {}
    for name, sentence in sorted(AuditNames(parts).described.items()):
        by_source.setdefault(name.partition(":")[0], []).append(f"| `{name}` | {sentence} |\n")
    for source, rows in by_source.items():
        sections.append(f"## {source}\n\n| name | what happened |\n| --- | --- |\n{''.join(rows)}")
    return "\n".join(sections)
