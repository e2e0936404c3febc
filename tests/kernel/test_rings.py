"""Rings of keys: which key is used when, on servers that learn of a rotation at different times."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from courtyard.kernel.crypto import AccessTokens, KeyRing, Signer, TokenExpired, TokenInvalid
from courtyard.kernel.rings import Ring, RingKey, current_key

START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
LIFE = 900
LEAD = timedelta(seconds=10)
OVERLAP = timedelta(seconds=LIFE + 1)
moments = st.none() | st.integers(-5, 5).map(lambda minutes: START + timedelta(minutes=minutes))


def key(name: str, not_before: datetime | None = None, retire_at: datetime | None = None) -> RingKey:
    return RingKey(name, secrets.token_bytes(32), not_before, retire_at)


@dataclass
class Still:
    """A clock that shows what it is told."""

    time: datetime = START

    def now(self) -> datetime:
        return self.time


def test_of_keys_without_dates_the_first_is_used() -> None:
    first, second = key("a"), key("b")
    assert current_key([first, second], START) is first


def test_a_key_is_used_from_its_date_to_its_end() -> None:
    minute = timedelta(minutes=1)
    new, old = key("new", START), key("old", None, START + minute)
    assert current_key([new, old], START - minute) is old
    assert current_key([new, old], START) is new
    assert current_key([old, new], START) is new
    assert current_key([key("new", START + 2 * minute), old], START) is old


def test_a_gap_is_bridged_by_the_key_that_comes_next() -> None:
    late, later = key("late", START + timedelta(hours=1)), key("later", START + timedelta(hours=2))
    assert current_key([later, late, key("gone", None, START)], START) is late


def test_a_ring_without_a_key_that_counts_signs_nothing() -> None:
    with pytest.raises(ValueError, match="retired"):
        current_key([key("gone", None, START)], START)


@given(st.lists(st.tuples(moments, moments), min_size=1, max_size=6), moments.filter(bool))
def test_the_key_in_use_is_the_newest_that_may_be(dates: list[tuple[datetime, datetime]], now: datetime) -> None:
    ring = [key(str(number), *each) for number, each in enumerate(dates)] + [key("last")]
    used = current_key(ring, now)
    assert not used.is_retired(now)
    for other in ring:
        if not other.is_retired(now) and other.not_before is not None and other.not_before <= now:
            assert used.not_before is not None
            assert used.not_before >= other.not_before


def test_secrets_are_not_shown() -> None:
    assert repr(key("a")) == "RingKey('a')"
    assert repr([key("a", START)]) == "[RingKey('a')]"


def test_digests_and_ciphertexts_go_over_to_the_new_key_at_its_date() -> None:
    clock = Still()
    old, new = key("old", None, START + timedelta(hours=2)), key("new", START + timedelta(hours=1))
    ring = Ring([old, new], clock)
    signer, keys = Signer(ring), KeyRing(ring)
    before, encrypted = signer.digest("p", "value"), keys.encrypt(b"value", "t.c", UUID(int=1))
    clock.time += timedelta(hours=1)
    after = signer.digest("p", "value")
    assert before != after
    assert signer.matches("p", "value", before)
    assert signer.matches("p", "value", after)
    assert keys.needs_rotation(encrypted)
    clock.time += timedelta(hours=1)
    assert not signer.matches("p", "value", before)
    assert signer.matches("p", "value", after)
    # What was encrypted is still there.
    assert keys.decrypt(encrypted, "t.c", UUID(int=1)) == b"value"


def test_a_ring_keeps_its_keys_where_the_new_ones_are_none() -> None:
    ring = Ring([key("a")])
    for wrong in ([], [("b", b"short")]):
        with pytest.raises(ValueError, match="key"):
            ring.replace(wrong)
    assert [each.id for each in ring.keys] == ["a"]


def test_a_token_that_is_known_is_refused_when_its_key_is_taken_out_or_changed() -> None:
    old, new = key("old"), key("new")
    ring = Ring([old])
    tokens = AccessTokens(ring)
    account_id = uuid4()
    token = tokens.issue(account_id, uuid4(), START, LIFE)
    assert tokens.verify(token, START).account_id == account_id
    for keys in ([new], [new, RingKey("old", new.secret)]):
        ring.replace(keys)
        with pytest.raises(TokenInvalid):
            tokens.verify(token, START)
    ring.replace([new, RingKey("old", old.secret, None, START + timedelta(seconds=5))])
    assert tokens.verify(token, START).account_id == account_id
    with pytest.raises(TokenInvalid):
        tokens.verify(token, START + timedelta(seconds=5))


@dataclass
class Issued:
    token: str
    key_id: str
    expires_at: datetime


class Rotations(RuleBasedStateMachine):
    """Two servers that share keys, rotated at any time; each learns of it somewhen before the new key is used."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Still()
        self.file: list[RingKey] = []
        self.written_at = START
        self.leaked: set[str] = set()
        self.issued: list[Issued] = []

    @initialize()
    def start(self) -> None:
        self.file = [key("0")]
        self.rings = [Ring(self.file, self.clock) for _ in range(2)]
        self.tokens = [AccessTokens(ring) for ring in self.rings]

    def look(self, server: int) -> None:
        if self.rings[server].keys != tuple(self.file):
            self.rings[server].replace(self.file)

    @rule(leaked=st.integers(0, 4).map(lambda drawn: drawn == 0))
    def rotate(self, leaked: bool) -> None:  # noqa: FBT001 - Hypothesis names it
        now = self.clock.time
        starts = now if leaked else now + LEAD
        ends = now if leaked else starts + OVERLAP
        old = [
            RingKey(each.id, each.secret, each.not_before, min(ends, each.retire_at or ends))
            for each in self.file
            if not each.is_retired(now)
        ]
        if leaked:
            self.leaked.update(each.id for each in self.file)
        self.file = [key(str(int(self.file[0].id) + 1), starts), *old]
        self.written_at = now
        if leaked:
            for server in range(2):
                self.look(server)

    @rule(server=st.integers(0, 1))
    def notice(self, server: int) -> None:
        self.look(server)

    @rule(seconds=st.sampled_from([1, 5, 9, 10, 11, 60, 450, 890, 899, 900, 901, 911, 2_000]))
    def wait(self, seconds: int) -> None:
        # Each server looks at the file well before what is written there begins.
        if self.clock.time + timedelta(seconds=seconds) >= self.written_at + LEAD:
            for server in range(2):
                self.look(server)
        self.clock.time += timedelta(seconds=seconds)

    @rule(server=st.integers(0, 1))
    def issue(self, server: int) -> None:
        now = self.clock.time
        used = self.rings[server].current()
        token = self.tokens[server].issue(UUID(int=1), UUID(int=2), now, LIFE)
        self.issued.append(Issued(token, used.id, now + timedelta(seconds=LIFE)))

    @invariant()
    def a_token_is_good_everywhere_until_it_expires(self) -> None:
        now = self.clock.time
        for each in self.issued[-12:]:
            for tokens in self.tokens:
                if each.key_id in self.leaked:
                    with pytest.raises((TokenInvalid, TokenExpired)):
                        tokens.verify(each.token, now)
                elif each.expires_at > now:
                    assert tokens.verify(each.token, now).expires_at == each.expires_at
                else:
                    with pytest.raises((TokenInvalid, TokenExpired)):
                        tokens.verify(each.token, now)

    @invariant()
    def a_retired_key_makes_nothing_good(self) -> None:
        now = self.clock.time
        for ring in getattr(self, "rings", []):
            for each in ring.keys:
                if each.is_retired(now):
                    forged = AccessTokens([(each.id, each.secret)]).issue(UUID(int=1), UUID(int=2), now, LIFE)
                    with pytest.raises(TokenInvalid):
                        AccessTokens(ring).verify(forged, now)

    @invariant()
    def the_file_stays_small(self) -> None:
        assert sum(each.retire_at is None for each in self.file) <= 1


def test_no_rotation_refuses_a_token_that_should_be_good() -> None:
    run_state_machine_as_test(Rotations, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))
