"""`courtyard demo`: a real server on fresh data, and two people who talk through it over real sockets.

Stands on what is public of a running server, over HTTP and Socket.IO, and on nothing inside it.
"""

import asyncio
import contextlib
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from courtyard.demo.conversation import Cast, play
from courtyard.demo.failure import DemoFailed
from courtyard.demo.people import PASSWORD
from courtyard.demo.server import HOST, ServerProcess
from courtyard.demo.transcript import Transcript
from courtyard.serving import listen

__all__ = ["run"]

PLAY_SECONDS = 60.0
LOG_LINES = 30
FAILED = 1
INTERRUPTED = 130


def run(exit: bool, port: int) -> int:  # noqa: A002, FBT001 - called as the option of the command is named
    """Start a server, let a visitor and a volunteer talk, say whether both saw everything once and in order.

    Args:
        exit: leave after the conversation. Otherwise the server stays up until Ctrl-C.
        port: to listen on, 0 for any that is free.

    Returns:
        0 if the conversation went well, 1 if not, 130 if it was interrupted.

    Raises:
        OSError: the port cannot be listened on.
    """
    try:
        with listen(HOST, port) as listener:
            port = listener.getsockname()[1]
    except OSError as error:
        other = f"--port {8001 if port == 8000 else 8000}"  # noqa: PLR2004 - the default
        message = f"{error.strerror}; choose another: courtyard demo {other}, or make demo ARGS='{other}'"
        raise OSError(error.errno, message) from error
    return asyncio.run(_demonstrate(port, leave=exit))


async def _demonstrate(port: int, *, leave: bool) -> int:
    transcript = Transcript(sys.stdout)
    talked = False
    # What a killed predecessor left half-open may still write: that is no reason to fail at the very end.
    with tempfile.TemporaryDirectory(prefix="courtyard-demo-", ignore_cleanup_errors=True) as folder, _interruptible():
        server = ServerProcess(Path(folder), port)
        try:
            async with server:
                transcript.title("Courtyard", f"A server of its own at {server.url}, with fresh data in {folder}")
                async with asyncio.timeout(PLAY_SECONDS):
                    await server.ready()
                    transcript.say(f"It is ready after {server.start_seconds:.1f} s, with SQLite and nothing else.")
                    cast = await play(server.url, server.outbox, transcript)
                talked = True
                if not leave:
                    _invite(transcript, server, cast)
                    await server.ended()
        except asyncio.CancelledError:
            transcript.say("Interrupted: the server is stopped and its data removed.")
            return 0 if talked else INTERRUPTED
        except (DemoFailed, TimeoutError, OSError) as error:
            reason = f"it took longer than {PLAY_SECONDS:.0f} s" if isinstance(error, TimeoutError) else str(error)
            transcript.fail(f"The demo failed: {reason}", server.log_tail(LOG_LINES))
            return FAILED
        return 0


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C, a closed terminal and `kill` end the task in good order, so that no server stays behind."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is None:
        raise RuntimeError("only a task can be interrupted")
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for one in signals:
        loop.add_signal_handler(one, task.cancel)
    try:
        yield
    finally:
        for one in signals:
            loop.remove_signal_handler(one)


def _invite(transcript: Transcript, server: ServerProcess, cast: Cast) -> None:
    transcript.table(
        "The server stays up. Look around:",
        [
            ("front page", f"{server.url}/"),
            ("API explorer", f"{server.url}/explorer"),
            ("health", f"{server.url}/health/ready"),
            ("its log", str(server.log_path)),
            ("its mails", str(server.outbox)),
        ],
    )
    transcript.table(
        f"Accounts in the workspace `{cast.workspace}`, all with the password {PASSWORD}",
        [(person.email, person.part) for person in cast.people],
    )
    transcript.say("Ctrl-C ends the server and removes its data.")
