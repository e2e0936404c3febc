"""What a chain proves: its links followed one after the other, and every fault told by its kind. Pure, without I/O."""

from collections.abc import Sequence
from typing import Literal, NamedTuple
from uuid import UUID

import msgspec

from courtyard.kernel.trail import canonical, chained

Kind = Literal["edited", "removed", "reordered", "seal_edited", "cut", "head_forged", "head_missing", "unsealed"]

# More than this is told by its number alone.
MAX_FAULTS = 1_000
# Among so many links that do not hold, those are looked for that have changed places.
MAX_SUSPECTS = 64
_ID = 1

TOLD: dict[Kind, str] = {
    "edited": "the entry is not what was sealed",
    "removed": "the entry is gone",
    "reordered": "the entry stands in the place of another",
    "seal_edited": "the seal is not the one that was made; the entry is",
    "cut": "the end of the chain is gone",
    "head_forged": "the head was not written by this server, or with a key that is no longer in security.signing_keys",
    "head_missing": "the head of the chain is gone",
    "unsealed": "the entry was written a while ago and has no seal",
}


class Fault(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Something that is not as it was sealed.

    Attributes:
        kind: what is wrong.
        number: the place in the chain; None where there is none.
        until: the last place, where there are several in a row.
        entry_id: the entry, as far as it is known.
    """

    kind: Kind
    number: int | None = None
    until: int | None = None
    entry_id: UUID | None = None

    def sentence(self) -> str:
        """Return the line that a person reads."""
        places = "" if self.number is None else f"number {self.number}"
        if self.until is not None and self.until != self.number:
            places = f"numbers {self.number} to {self.until}"
        entry = "" if self.entry_id is None else f"entry {self.entry_id}"
        where = ", ".join(one for one in (places, entry) if one)
        return f"{self.kind}: {where}: {TOLD[self.kind]}" if where else f"{self.kind}: {TOLD[self.kind]}"


class Link(NamedTuple):
    """A seal with the entry that it names; `fields` is None where there is no such entry."""

    number: int
    entry_id: UUID
    digest: str
    fields: Sequence[object] | None


class _Suspect(NamedTuple):
    link: Link
    before: str


class Walk:
    """Follows the links of one chain in their order, in constant memory.

    Args:
        number: of the last link before the first that is followed; 0 at the very beginning.
        digest: of that link.

    Attributes:
        number: of the last link that was followed.
        digest: of that link, as its seal says.
    """

    def __init__(self, number: int, digest: str) -> None:
        self.number = number
        self.digest = digest
        self._faults: list[Fault] = []
        self._suspects: list[_Suspect] = []
        # What the last link would have as its digest, if its entry is right and its seal is not.
        self._otherwise: str | None = None

    @property
    def sound(self) -> bool:
        """Whether everything held so far."""
        return not self._faults and not self._suspects

    @property
    def full(self) -> bool:
        """Whether there are so many faults that it is no use to look for more."""
        return len(self._faults) + len(self._suspects) >= MAX_FAULTS

    def follow(self, link: Link) -> None:
        """Take the next link."""
        if link.number != self.number + 1:
            # Its digest was made of one that is gone, so that only what comes behind it can be held against it.
            self._faults.append(Fault(kind="removed", number=self.number + 1, until=link.number - 1))
            self._otherwise = None
        elif link.fields is None:
            self._faults.append(Fault(kind="removed", number=link.number, entry_id=link.entry_id))
            self._otherwise = None
        else:
            self._hold(link, canonical(link.number, link.fields))
        self.number, self.digest = link.number, link.digest

    def _hold(self, link: Link, entry: bytes) -> None:
        made = chained(self.digest, entry)
        if made == link.digest:
            self._otherwise = None
        elif self._otherwise is not None and chained(self._otherwise, entry) == link.digest:
            self._acquit()
        else:
            self._suspects.append(_Suspect(link, self.digest))
            self._otherwise = made

    def _acquit(self) -> None:
        """Find that the entry of the last suspect is what was sealed: its seal alone is wrong."""
        seal = self._suspects.pop().link
        self._faults.append(Fault(kind="seal_edited", number=seal.number, entry_id=seal.entry_id))
        self._otherwise = None

    def faults(self, number: int, digest: str) -> list[Fault]:
        """Return what is wrong, in the order of the chain.

        Args:
            number: of the last link, as the head says.
            digest: of that link, as the head says.
        """
        if self.number < number:
            self._faults.append(Fault(kind="cut", number=self.number + 1, until=number))
        elif digest != self.digest:
            if digest == self._otherwise:
                self._acquit()
            elif self._otherwise is None:
                self._faults.append(Fault(kind="seal_edited", number=number))
        found = [*self._faults, *_judged(self._suspects)]
        return sorted(found, key=lambda fault: fault.number or 0)


def _judged(suspects: Sequence[_Suspect]) -> list[Fault]:
    """Say of each link that does not hold what has become of it.

    Where two have changed places, with their seals or without, each entry fits where the other stands. What comes
    directly behind such a place does not hold either, until the digest is known that belongs before it.
    """
    faults = []
    known: dict[int, str] = {}
    for suspect in suspects:
        link = suspect.link
        before = known.get(link.number - 1, suspect.before)
        own = chained(before, canonical(link.number, link.fields or ()))
        if own == link.digest:
            continue
        kind: Kind = "edited"
        for other in suspects[:MAX_SUSPECTS]:
            if other is suspect or kind == "reordered":
                continue
            for fields in _in_place_of(link, other.link):
                made = chained(before, canonical(link.number, fields))
                if made in {link.digest, other.link.digest}:
                    kind, known[link.number] = "reordered", made
                    break
        faults.append(Fault(kind=kind, number=link.number, entry_id=link.entry_id))
    return faults


def _in_place_of(link: Link, other: Link) -> tuple[Sequence[object], Sequence[object]]:
    """Return the entry of another link, and the same under the id of this one: rows may have swapped their ids."""
    fields = list(other.fields or ())
    return tuple(fields), (*fields[:_ID], link.entry_id, *fields[_ID + 1 :])
