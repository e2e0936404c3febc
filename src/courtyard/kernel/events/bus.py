"""How server processes tell each other at once what just happened.

The bus may lose a signal: the log is what counts, and the dispatcher looks there for what it was not told of. So
nothing that a client waits for depends on Redis.
"""

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
import redis.asyncio as redis
import structlog
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from typing_extensions import override

from courtyard.kernel.events.background import Background

log = structlog.get_logger()

MAX_PENDING = 10_000
BATCH = 200
# How long a new listener waits for Redis to say that it hears the channel; later than that, the sweep helps out.
CONFIRM_SECONDS = 0.5
# After so long without a word from Redis it is asked for one; after twice as long the connection is given up.
SILENCE_SECONDS = 5.0
ANSWER_SECONDS = 5.0
RECONNECT_SECONDS = 0.5

# Redis is away, as opposed to: it refuses.
_AWAY = (RedisConnectionError, RedisTimeoutError, OSError)


class Signal(msgspec.Struct, frozen=True, array_like=True):
    """One message between processes.

    Attributes:
        channel: who should hear it, `workspace/topic` or the name of a service.
        kind: `event` (in the log as well), or whatever the service at the other end understands.
        number: of the event within its topic; 0 for what is not logged.
        body: JSON as it goes to clients; empty where an event is too long to be carried.
        skip: the connection that shall not get it.
        origin: the process that sent it; the bus fills it in.
    """

    channel: str
    kind: str
    number: int = 0
    body: bytes = b""
    skip: str = ""
    origin: str = ""


class Bus(Protocol):
    """Carries signals between processes."""

    async def start(self, heard: Callable[[Signal], None]) -> None:
        """Begin to call `heard` with what is sent on the channels that are listened to."""
        ...

    def publish(self, signal: Signal, *, here: bool = True) -> None:
        """Send a signal soon, or drop the oldest that waits where too many do.

        Args:
            signal: what to say.
            here: whether this process hears it as well, at once, where it listens to the channel.
        """
        ...

    async def listen(self, channel: str) -> None:
        """Hear a channel from the moment this returns, where the bus can be reached."""
        ...

    def unlisten(self, channel: str) -> None:
        """Hear a channel no longer."""
        ...

    async def ping(self) -> None:
        """Raise `OSError` or a Redis error where the bus cannot be reached."""
        ...

    async def close(self) -> None:
        """Stop, and let go of all connections."""
        ...


class LocalBus(Bus):
    """The bus of a single process: there is nobody else to tell."""

    def __init__(self) -> None:
        self._heard: Callable[[Signal], None] | None = None
        self._channels: set[str] = set()

    @override
    async def start(self, heard: Callable[[Signal], None]) -> None:
        self._heard = heard

    @override
    def publish(self, signal: Signal, *, here: bool = True) -> None:
        if here and self._heard is not None and signal.channel in self._channels:
            self._heard(signal)

    @override
    async def listen(self, channel: str) -> None:
        self._channels.add(channel)

    @override
    def unlisten(self, channel: str) -> None:
        self._channels.discard(channel)

    @override
    async def ping(self) -> None:
        pass

    @override
    async def close(self) -> None:
        self._channels.clear()


class RedisBus(Bus):
    """Redis publish/subscribe, one Redis channel for each channel that this process listens to.

    One task reads and is the only one that connects; whoever wants a channel writes on the connection that is there,
    or leaves it to the next one, which begins with all channels.

    Args:
        client: the bus owns it.
        prefix: goes before every channel, so that installations can share a Redis.
    """

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self._client = client
        self._prefix = f"{prefix}:bus:".encode()
        self._origin = secrets.token_hex(8)
        self._heard: Callable[[Signal], None] = lambda _: None
        self._outbox: deque[Signal] = deque(maxlen=MAX_PENDING)
        self._filled = asyncio.Event()
        # Done as soon as Redis has confirmed the channel.
        self._channels: dict[str, asyncio.Future[None]] = {}
        self._connection: Any = None
        self._background = Background()
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Signal).decode
        self.dropped = 0

    @override
    async def start(self, heard: Callable[[Signal], None]) -> None:
        self._heard = heard
        self._background.spawn(self._send_forever())
        self._background.spawn(self._hear_forever())

    @override
    def publish(self, signal: Signal, *, here: bool = True) -> None:
        if here and signal.channel in self._channels:
            self._heard(signal)
        if len(self._outbox) == MAX_PENDING:
            self.dropped += 1
        self._outbox.append(signal)
        self._filled.set()

    async def _send_forever(self) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._outbox:
                await self._send([self._outbox.popleft() for _ in range(min(len(self._outbox), BATCH))])

    async def _send(self, signals: list[Signal]) -> None:
        """Publish signals in their order, however long Redis is away."""
        while True:
            # Its commands are queued, whatever the library's types say.
            pipeline: Any = self._client.pipeline(transaction=False)
            for signal in signals:
                sent = msgspec.structs.replace(signal, origin=self._origin)
                pipeline.publish(self._prefix + signal.channel.encode(), self._encode(sent))
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await pipeline.execute()
            except _AWAY as error:
                log.warning("bus.away", error=f"{type(error).__name__}: {error}", waiting=len(self._outbox))
                await asyncio.sleep(RECONNECT_SECONDS)
            except RedisError as error:
                self.dropped += len(signals)
                log.warning("bus.refused", error=str(error), signals=len(signals))
                return
            else:
                return

    async def _hear_forever(self) -> None:
        while True:
            connection: Any = self._client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
            try:
                await self._hear(connection)
            except (RedisError, OSError) as error:
                log.warning("bus.connection_lost", error=f"{type(error).__name__}: {error}")
            finally:
                self._connection = None
                await connection.disconnect(nowait=True)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _hear(self, connection: Any) -> None:  # noqa: ANN401 - the library's classes have no common type
        """Connect, listen to every channel that is wanted, and take what comes until the connection is lost."""
        async with asyncio.timeout(ANSWER_SECONDS):
            await connection.connect()
        self._connection = connection
        if self._channels:
            await self._tell("SUBSCRIBE", *self._channels)
        is_asked = False
        while True:
            reply = await connection.read_response(
                timeout=SILENCE_SECONDS, disconnect_on_error=False, push_request=True
            )
            if reply is not None:
                is_asked = False
                self._take(reply)
            elif is_asked:
                raise RedisConnectionError("Redis has fallen silent")
            else:
                is_asked = True
                await connection.send_command("PING", check_health=False)

    def _take(self, reply: Any) -> None:  # noqa: ANN401 - whatever Redis says
        match reply:
            case [b"subscribe", bytes(channel), _]:
                confirmed = self._channels.get(channel.removeprefix(self._prefix).decode())
                if confirmed is not None and not confirmed.done():
                    confirmed.set_result(None)
            case [b"message", _, bytes(data)]:
                try:
                    signal = self._decode(data)
                    if signal.origin != self._origin:
                        self._heard(signal)
                except Exception:
                    # A process of another version may say what is not understood here.
                    log.exception("bus.signal_fault")
            case _:
                pass

    async def _tell(self, command: str, *channels: str) -> None:
        connection = self._connection
        # The writing begins before anything else can happen, so it never connects by itself.
        if connection is not None and connection.is_connected:
            names = [self._prefix + channel.encode() for channel in channels]
            await connection.send_command(command, *names, check_health=False)

    @override
    async def listen(self, channel: str) -> None:
        confirmed = self._channels.get(channel)
        is_new = confirmed is None
        if confirmed is None:
            confirmed = self._channels[channel] = asyncio.get_running_loop().create_future()
        if self._connection is None:
            return
        # What goes wrong on the connection, its reader sees as well, and begins anew.
        with contextlib.suppress(RedisError, OSError):
            async with asyncio.timeout(CONFIRM_SECONDS):
                if is_new:
                    await self._tell("SUBSCRIBE", channel)
                await asyncio.shield(confirmed)

    @override
    def unlisten(self, channel: str) -> None:
        if self._channels.pop(channel, None) is not None:
            self._background.spawn(self._forget(channel))

    async def _forget(self, channel: str) -> None:
        if channel not in self._channels:
            with contextlib.suppress(RedisError, OSError):
                await self._tell("UNSUBSCRIBE", channel)

    @override
    async def ping(self) -> None:
        await self._client.ping()

    @override
    async def close(self) -> None:
        await self._background.end()
        await self._client.aclose()
