"""Measure Courtyard beside its peers: `python -m benchmarks.run --only spine`.

Exit status: 0 if every bar that was measured holds, 1 if one falls short, 2 if it could not be measured.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import platform
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks import groups
from benchmarks.bench import Bench
from benchmarks.contest import OURS, BenchmarkError, Row, Work, compete, rounded
from benchmarks.databases import version_of_postgres
from benchmarks.process import GENERATOR_CORE, SERVER_CORE
from benchmarks.servers import install_node_peer

# The load average above which others than the benchmark are at work.
BUSY: Final = 0.5
RESULTS: Final = Path(__file__).parent / "results" / "latest.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    known = sorted(module.name for module in pkgutil.iter_modules(groups.__path__))
    chosen = _options(known).parse_args(arguments)
    console = Console(stderr=True)
    # An end from outside also ends the servers and drops the databases.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        environment = _environment()
        if environment["load"] > BUSY:
            console.print(
                f"[yellow]Something else keeps this machine busy (load {environment['load']}): figures are low."
            )
        works = [work for name in chosen.only or known for work in _works_of(name) if chosen.match in work.name]
        rows, failed = _measure(works, chosen, console)
    except BenchmarkError as problem:
        console.print(str(problem), style="bold red", highlight=False, markup=False)
        return 2
    RESULTS.parent.mkdir(exist_ok=True)
    report = {"environment": environment, "rounds": chosen.rounds, "seconds": chosen.seconds, "rows": rows}
    RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    Console(width=None if sys.stdout.isatty() else 160).print(_table(rows))
    if failed:
        return 2
    return 1 if any(row.holds is False for row in rows) else 0


def _options(known: Sequence[str]) -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="benchmarks", description="Measure Courtyard beside its peers.")
    options.add_argument("--only", action="append", choices=known, help="a group; may be repeated (all)")
    options.add_argument("--match", default="", help="only works with this in their name")
    options.add_argument("--rounds", type=int, default=5, help="rounds of each work (5)")
    options.add_argument("--seconds", type=float, default=4.0, help="measured time of one round (4)")
    options.add_argument("--without", action="append", default=[], help="leave a contestant out; may be repeated")
    return options


def _environment() -> dict[str, Any]:
    if SERVER_CORE == GENERATOR_CORE:
        raise BenchmarkError("Only one core may be used here; the server and the load generator need one each.")
    os.sched_setaffinity(0, {GENERATOR_CORE})
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
        "postgresql": version_of_postgres(),
        "node": install_node_peer(),
    }


def _works_of(group: str) -> tuple[Work, ...]:
    works: tuple[Work, ...] = importlib.import_module(f"benchmarks.groups.{group}").WORKS
    return works


def _measure(works: Sequence[Work], chosen: argparse.Namespace, console: Console) -> tuple[list[Row], bool]:
    rows: list[Row] = []
    failed = False
    directory = Path(mkdtemp(prefix="courtyard-bench-"))
    try:
        with ExitStack() as closing:
            bench = Bench(chosen.rounds, chosen.seconds, directory, closing)
            for work in works:
                names = [name for name in work.contestants if name not in chosen.without]
                try:
                    rows += compete(work, bench, names, lambda line: console.print(line, highlight=False, style="dim"))
                except BenchmarkError as problem:
                    failed = True
                    console.print(f"{work.name}: {problem}", style="bold red", highlight=False, markup=False)
    finally:
        if failed:
            console.print(f"What the servers said is in {directory}.", style="bold red")
        else:
            rmtree(directory)
    return rows, failed


def _table(rows: Sequence[Row]) -> Table:
    table = Table(title="Courtyard beside its peers: medians of all rounds")
    for heading in ("work", "figure", "ours", "spread", "peer", "its own", "ratio", "bar", "CPU ms ours / its"):
        table.add_column(heading, justify="left" if heading in {"work", "figure", "peer"} else "right")
    last = ""
    for row in rows:
        table.add_section() if row.name != last else None
        spread = row.spread.get(OURS)
        table.add_row(
            row.name if row.name != last else "",
            row.figure,
            _number(row.ours),
            f"{_number(spread[0])} to {_number(spread[1])}" if spread else "",
            row.peer_name or "",
            _number(row.peer) if row.peer_name else "",
            "" if row.peer_name is None else _number(row.ratio),
            {True: "[green]{} ✓", False: "[bold red]{} ✗", None: "{}"}[row.holds].format(row.bar),
            " / ".join(_number(row.cpu_ms.get(name)) for name in (OURS, row.peer_name) if name) if row.cpu_ms else "",
        )
        last = row.name
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else rounded(value)


if __name__ == "__main__":
    sys.exit(main())
