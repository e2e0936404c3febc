"""What the demo prints: what the visitor sees on the left, what the volunteer sees on the right."""

from collections.abc import Sequence
from typing import Literal, TextIO

from rich.console import Console

Side = Literal["left", "right"]

INDENT = {"left": 2, "right": 42}
STYLE = {"left": "cyan", "right": "green"}


class Transcript:
    """Prints line by line, each at once; in colour on a terminal, plain elsewhere.

    Args:
        file: where to.
    """

    def __init__(self, file: TextIO) -> None:
        # Lines are never broken, so that what reads them from a pipe finds them whole. The console flushes each.
        self._console = Console(file=file, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def title(self, name: str, line: str) -> None:
        """Begin."""
        self._console.print(name, style="bold")
        self.say(line)

    def say(self, line: str) -> None:
        """Tell what happens outside of what the two see."""
        self._console.print(line, style="dim")

    def columns(self, left: str, right: str) -> None:
        """Name those who talk, above what they see."""
        width = INDENT["right"] - INDENT["left"]
        self._console.print()
        self._console.print(" " * INDENT["left"] + f"{left:<{width}}{right}", style="bold")

    def see(self, side: Side, line: str) -> None:
        """Show what one of them sees."""
        self._console.print(" " * INDENT[side] + line, style=STYLE[side])

    def conclude(self, line: str) -> None:
        """Tell how it ended."""
        self._console.print()
        self._console.print(line, style="bold green")

    def table(self, title: str, rows: Sequence[tuple[str, str]]) -> None:
        """Show pairs below each other."""
        width = max(len(name) for name, _ in rows)
        self._console.print()
        self._console.print(title)
        for name, value in rows:
            self._console.print(f"  {name:<{width}}  {value}")

    def fail(self, line: str, log: Sequence[str]) -> None:
        """Tell what went wrong, and what the server last said."""
        self._console.print()
        self._console.print(line, style="bold red")
        if log:
            self._console.print("The last lines of the server's log:")
        for each in log:
            self._console.print(f"  {each}", style="dim")
