"""From the log to those who listen in this process, in the order of the log, each number once.

A commit, here or in another process, is told to the dispatcher as a hint: the topic has come this far. The next
number is passed on as it is; any other hint makes the dispatcher read the log from the last number that it passed
on. What nobody told it of (a process that was killed between commit and hint, a bus that was away) it finds in a
sweep over the topics that somebody here listens to.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from itertools import islice
from typing import Any, Protocol
from uuid import UUID

import msgspec
import structlog

from courtyard.kernel.database import DatabaseUnavailable, Placement, ReadUnit
from courtyard.kernel.events.background import Background
from courtyard.kernel.events.bus import Bus, Signal
from courtyard.kernel.events.errors import AheadOfLog, ReplayTooLong
from courtyard.kernel.events.log import newest_number, newest_numbers, read
from courtyard.kernel.events.schemas import Envelope
from courtyard.kernel.settings import EventSettings

log = structlog.get_logger()

PAGE = 200
SWEEP_CHUNK = 1_000
AHEAD_SECONDS = 0.01

_encode = msgspec.json.Encoder().encode


class Frame:
    """What is handed to each listener: encoded once, and room for what transports make of it."""

    __slots__ = ("bytes", "json", "name", "packet")

    def __init__(self, name: str, json: bytes) -> None:
        self.name = name
        self.json = json
        self.packet: Any = None
        self.bytes: bytes | None = None


class Subscriber(Protocol):
    """Somebody who listens."""

    id: str

    def deliver(self, frame: Frame) -> None:
        """Take a frame without waiting and without raising."""
        ...

    async def ready(self) -> None:
        """Return when there is room for more; a replay waits for this before each frame, live events do not."""
        ...


class _Channel:
    """A topic that somebody in this process listens to."""

    __slots__ = ("catching_up", "live", "number", "opened", "topic", "users", "wanted", "workspace_id")

    def __init__(self, workspace_id: UUID, topic: str) -> None:
        self.workspace_id = workspace_id
        self.topic = topic
        # The newest number that every live subscriber has.
        self.number = 0
        # The newest number that is known to exist.
        self.wanted = 0
        # Set while nothing may be passed on directly, because the log is being read.
        self.catching_up = True
        self.opened: asyncio.Task[None] | None = None
        self.live: dict[str, Subscriber] = {}
        self.users = 0

    @property
    def name(self) -> str:
        return f"{self.workspace_id}/{self.topic}"


class Dispatcher:
    """The live end of the log in one process.

    Args:
        placement: where the logs are.
        bus: the other processes.
        settings: interval of the sweep, length of a replay.
    """

    def __init__(self, placement: Placement, bus: Bus, settings: EventSettings) -> None:
        self._placement = placement
        self._bus = bus
        self._settings = settings
        self._channels: dict[str, _Channel] = {}
        self._background = Background()
        self.found_by_sweep = 0

    def start(self) -> None:
        """Begin to sweep. Hints of other processes come in through `heard`."""
        self._background.every(self._settings.sweep_seconds, self.sweep)

    async def stop(self) -> None:
        """End all work in the background."""
        await self._background.end()

    def committed(self, envelopes: Sequence[Envelope]) -> None:
        """Pass on what was just committed in this process, and tell the others."""
        for envelope in envelopes:
            body = _encode(envelope)
            name = f"{envelope.workspace_id}/{envelope.topic}"
            channel = self._channels.get(name)
            if channel is not None:
                self._hint(channel, envelope.number, body)
            carried = body if len(body) <= self._settings.inline_limit_bytes else b""
            self._bus.publish(Signal(name, "event", envelope.number, carried), here=False)

    def tell(self, workspace_id: UUID, topic: str, name: str, body: bytes, *, skip: str = "") -> None:
        """Pass on something ephemeral, such as typing: to whoever listens now, in no log.

        Args:
            workspace_id: the tenant.
            topic: who should hear it.
            name: the name of the socket event.
            body: its JSON.
            skip: the subscriber that shall not get it.
        """
        channel_name = f"{workspace_id}/{topic}"
        self._tell_local(channel_name, name, body, skip)
        self._bus.publish(Signal(channel_name, name, 0, body, skip=skip), here=False)

    def _tell_local(self, channel_name: str, name: str, body: bytes, skip: str) -> None:
        channel = self._channels.get(channel_name)
        if channel is not None:
            frame = Frame(name, body)
            for subscriber in list(channel.live.values()):
                if subscriber.id != skip:
                    subscriber.deliver(frame)

    def heard(self, signal: Signal) -> None:
        """Take a signal of another process."""
        if signal.kind != "event":
            self._tell_local(signal.channel, signal.kind, signal.body, signal.skip)
            return
        channel = self._channels.get(signal.channel)
        if channel is not None:
            self._hint(channel, signal.number, signal.body)

    def _hint(self, channel: _Channel, number: int, body: bytes) -> None:
        if number <= channel.wanted:
            return
        channel.wanted = number
        if channel.catching_up:
            return
        if number == channel.number + 1 and body:
            self._pass_on(channel, number, body)
        if channel.number < channel.wanted:
            channel.catching_up = True
            self._background.spawn(self._catch_up(channel))

    @staticmethod
    def _pass_on(channel: _Channel, number: int, body: bytes) -> None:
        frame = Frame("event", body)
        for subscriber in list(channel.live.values()):
            subscriber.deliver(frame)
        channel.number = number

    async def _catch_up(self, channel: _Channel) -> None:
        """Read what is missing and pass it on. A failure leaves it to the next hint or sweep."""
        try:
            unit = ReadUnit(self._placement, channel.workspace_id)
            while channel.number < channel.wanted:
                envelopes = await read(unit, channel.topic, after=channel.number, until=channel.wanted, limit=PAGE)
                for envelope in envelopes:
                    self._pass_on(channel, envelope.number, _encode(envelope))
                if not envelopes:
                    break
        except DatabaseUnavailable as error:
            log.warning("events.catch_up_failed", topic=channel.topic, error=error.detail)
        finally:
            # Where it fell short, the next hint or sweep begins anew.
            channel.wanted = channel.number
            channel.catching_up = False

    async def subscribe(self, subscriber: Subscriber, workspace_id: UUID, topic: str, after: int | None) -> int:
        """Replay what a subscriber missed, then let it hear what comes; return the number it has reached.

        Args:
            subscriber: who listens; what it is handed begins before this returns.
            workspace_id: the tenant.
            topic: a topic that it may listen to.
            after: the last number that it has seen; None to hear only what comes.

        Raises:
            ReplayTooLong: it missed more than is replayed; nothing was handed to it.
            AheadOfLog: the log does not reach `after`.
        """
        channel = self._channels.get(f"{workspace_id}/{topic}")
        if channel is None:
            channel = _Channel(workspace_id, topic)
            self._channels[channel.name] = channel
            channel.opened = self._background.task(self._open(channel))
        channel.users += 1
        try:
            if channel.opened is not None:
                await asyncio.shield(channel.opened)
            await self._replay(channel, subscriber, after)
        except BaseException:
            self._leave(channel)
            raise
        return channel.number

    async def _open(self, channel: _Channel) -> None:
        # First listen, then look: what is committed in between is told, not lost.
        await self._bus.listen(channel.name)
        channel.number = await newest_number(ReadUnit(self._placement, channel.workspace_id), channel.topic)
        channel.opened = None
        await self._catch_up(channel)

    async def _replay(self, channel: _Channel, subscriber: Subscriber, after: int | None) -> None:
        unit = ReadUnit(self._placement, channel.workspace_id)
        if after is not None and after > channel.number:
            # Another process may be ahead of this one.
            newest = await newest_number(unit, channel.topic)
            if after > newest:
                raise AheadOfLog(number=newest)
            self._hint(channel, newest, b"")
            # What the client has seen elsewhere must not be handed to it again. This is rare, so nothing tells of it.
            while after > channel.number:  # noqa: ASYNC110
                await asyncio.sleep(AHEAD_SECONDS)
        position = channel.number if after is None else after
        if channel.number - position > self._settings.replay_limit:
            raise ReplayTooLong(number=channel.number)
        while position != channel.number:
            envelopes = await read(unit, channel.topic, after=position, until=channel.number, limit=PAGE)
            if not envelopes:
                # Somebody has shortened the log.
                raise ReplayTooLong(number=channel.number)
            for envelope in envelopes:
                await subscriber.ready()
                subscriber.deliver(Frame("event", _encode(envelope)))
            position = envelopes[-1].number
        # No await between the last look at the number and this line: nothing falls between replay and live.
        channel.live[subscriber.id] = subscriber

    def unsubscribe(self, subscriber: Subscriber, workspace_id: UUID, topic: str) -> None:
        """Let a subscriber hear a topic no longer."""
        channel = self._channels.get(f"{workspace_id}/{topic}")
        if channel is not None and channel.live.pop(subscriber.id, None) is not None:
            self._leave(channel)

    def _leave(self, channel: _Channel) -> None:
        channel.users -= 1
        if channel.users == 0 and self._channels.get(channel.name) is channel:
            del self._channels[channel.name]
            self._bus.unlisten(channel.name)

    async def sweep(self) -> None:
        """Look at every topic that is listened to here, and pass on what no hint told of."""
        for database, channels in (await self._by_database()).items():
            waiting = iter(channels)
            while chunk := list(islice(waiting, SWEEP_CHUNK)):
                topics = [(channel.workspace_id, channel.topic) for channel in chunk]
                for found in await newest_numbers(database, topics):
                    channel = self._channels.get(f"{found.workspace_id}/{found.topic}")
                    if channel is not None and found.number > channel.wanted:
                        self.found_by_sweep += found.number - channel.wanted
                        self._hint(channel, found.number, b"")

    async def _by_database(self) -> dict[Any, list[_Channel]]:
        grouped: dict[Any, list[_Channel]] = {}
        for channel in list(self._channels.values()):
            with contextlib.suppress(DatabaseUnavailable):
                grouped.setdefault(await self._placement.database_of(channel.workspace_id), []).append(channel)
        return grouped

    @property
    def topics(self) -> int:
        """How many topics somebody in this process listens to."""
        return len(self._channels)
