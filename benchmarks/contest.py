"""What a measurement is, how its rounds are interleaved, and how bars are judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from benchmarks.bench import Bench

OURS: Final = "courtyard"
CPU: Final = "CPU ms each"

# The figures of one round by name ("requests/s", "p99 ms"), the CPU time of the server among them where it has a sense.
Reading = dict[str, float]
Contestant = Callable[["Bench"], Reading]


class BenchmarkError(Exception):
    """The benchmark cannot go on; the message is for whoever ran it."""


@dataclass(frozen=True)
class Bar:
    """A figure to report, and what it must reach.

    With a peer the bounds are on ours divided by the peer's, without one on ours itself. Without bounds it is
    information. `of` makes one value of those of all rounds: `max` where a single bad round is a failure.
    """

    figure: str
    peer: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    of: Callable[[Sequence[float]], float] = median

    def holds(self, value: float | None) -> bool | None:
        """Say whether a value reaches the bar; None where there is no bar or no value."""
        if value is None or self.at_least is self.at_most:
            return None
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    @property
    def text(self) -> str:
        """The bar as the table shows it."""
        both = (("≥", self.at_least), ("≤", self.at_most))
        bounds = [f"{sign} {bound:g}" for sign, bound in both if bound is not None]
        return " ".join(bounds) + (" x" if bounds and self.peer else "")


@dataclass(frozen=True)
class Work:
    """One piece of work that several servers do in turn."""

    name: str
    contestants: Mapping[str, Contestant]
    bars: Sequence[Bar]


class Row(msgspec.Struct):
    """One line of the table and of latest.json. Values are medians; a spread is the lowest and highest round."""

    name: str
    figure: str
    ours: float | None
    peer_name: str | None
    peer: float | None
    ratio: float | None
    bar: str
    holds: bool | None
    spread: dict[str, tuple[float, float]]
    cpu_ms: dict[str, float]


def compete(work: Work, bench: Bench, names: Sequence[str], report: Callable[[str], None]) -> list[Row]:
    """Measure every contestant in every round, one after the other, and judge the medians.

    Args:
        work: what to measure.
        bench: the rounds, the seconds and the databases.
        names: which contestants take part.
        report: is told each figure as it comes.
    """
    readings: dict[str, list[Reading]] = {name: [] for name in work.contestants if name in names}
    for turn in range(bench.rounds):
        # Each round begins with another contestant, so that none is always measured on the warmest machine.
        order = list(readings)
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            reading = work.contestants[name](bench)
            readings[name].append(reading)
            shown = ", ".join(f"{rounded(value)} {figure}" for figure, value in reading.items())
            report(f"{work.name}, round {turn + 1}/{bench.rounds}, {name}: {shown}")
    return [judge(work.name, bar, readings) for bar in work.bars]


def judge(name: str, bar: Bar, readings: Mapping[str, Sequence[Reading]]) -> Row:
    """Return the row of one bar over the readings of all rounds."""
    parties = [OURS, *([bar.peer] if bar.peer else [])]
    values = {party: [reading[bar.figure] for reading in readings.get(party, ())] for party in parties}
    finals = {party: bar.of(rounds) for party, rounds in values.items() if rounds}
    ours, peer = finals.get(OURS), finals.get(bar.peer or "")
    ratio = ours / peer if ours is not None and peer else None
    return Row(
        name=name,
        figure=bar.figure,
        ours=ours,
        peer_name=bar.peer,
        peer=peer,
        ratio=ratio,
        bar=bar.text,
        holds=bar.holds(ratio if bar.peer else ours),
        spread={party: (min(rounds), max(rounds)) for party, rounds in values.items() if rounds},
        cpu_ms={
            party: median(reading[CPU] for reading in readings[party])
            for party in finals
            if all(CPU in reading for reading in readings[party])
        },
    )


def rounded(value: float) -> str:
    """Return a number with three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
