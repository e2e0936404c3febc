"""Work beside the requests: nothing that fails is lost sight of, and nothing is left at the end."""

import asyncio

import pytest
from structlog.testing import capture_logs

from courtyard.kernel.database import DatabaseUnavailable
from courtyard.kernel.events import Background


async def turn(times: int = 5) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


class TestFailures:
    async def raising(self, error: BaseException) -> None:
        raise error

    @pytest.mark.parametrize("error", [DatabaseUnavailable("away"), OSError("away")])
    async def test_something_is_away(self, error: Exception) -> None:
        with capture_logs() as logs:
            Background().spawn(self.raising(error))
            await turn()
        (entry,) = logs
        assert (entry["event"], entry["log_level"]) == ("background.failed", "warning")
        assert "away" in entry["error"]
        assert entry["work"] == "TestFailures.raising"

    async def test_a_fault(self) -> None:
        fault = ZeroDivisionError()
        with capture_logs() as logs:
            Background().spawn(self.raising(fault))
            await turn()
        (entry,) = logs
        assert (entry["event"], entry["log_level"], entry["exc_info"]) == ("background.fault", "error", fault)

    async def test_what_is_repeated_goes_on(self) -> None:
        background, turns = Background(), 0
        done = asyncio.Event()

        async def work() -> None:
            nonlocal turns
            turns += 1
            if turns == 4:
                done.set()
            elif turns % 2:
                raise ZeroDivisionError
            else:
                raise DatabaseUnavailable

        with capture_logs() as logs:
            background.every(0.001, work)
            await asyncio.wait_for(done.wait(), 5)
        await background.end()
        assert [entry["event"] for entry in logs[:3]] == ["background.fault", "background.failed", "background.fault"]

    async def test_who_waits_is_given_the_result(self) -> None:
        async def work() -> int:
            return 7

        assert await Background().task(work()) == 7


class TestEnd:
    async def test_everything_ends(self) -> None:
        background, ended = Background(), []

        async def work(name: str) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(name)

        with capture_logs() as logs:
            for name in "abc":
                background.spawn(work(name))
            await turn()
            await background.end()
        assert sorted(ended) == ["a", "b", "c"]
        assert logs == []
        await background.end()

    async def test_what_swallows_the_first_cancellation(self) -> None:
        background = Background()

        async def work() -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                await asyncio.sleep(60)

        background.spawn(work())
        await turn()
        await asyncio.wait_for(background.end(), 5)

    async def test_what_begins_something_at_its_end(self) -> None:
        background = Background()

        async def work() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                background.spawn(asyncio.sleep(60))

        background.spawn(work())
        await turn()
        await asyncio.wait_for(background.end(), 5)
