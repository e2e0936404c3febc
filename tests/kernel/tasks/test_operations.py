"""What people wait for: how it is told, watched and cancelled; and what administrators do about tasks."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from courtyard.kernel.application import installed
from courtyard.kernel.context import Context
from courtyard.kernel.tasks import GiveUp, report
from courtyard.kernel.tasks.operations import KEEP_ALIVE_SECONDS
from tests.conftest import ServerFactory
from tests.factories import Factory, Person, Workspace, ok, problem
from tests.kernel.tasks import probe
from tests.kernel.tasks.conftest import Gate
from tests.kernel.tasks.probe import Script
from tests.running import RunningServer

Keep = Callable[[Script], str]


@dataclass
class Scene:
    """A server that has the probe, and a workspace on it."""

    server: RunningServer
    make: Factory
    workspace: Workspace

    @property
    def owner(self) -> Person:
        return self.workspace.owner

    async def begin(self, key: str) -> tuple[str, dict[str, Any]]:
        """Begin an operation as the owner; return its path behind `/api/v1`, and how it stands."""
        answer = await self.owner.http.post(f"{self.workspace.path}/probe/operations", json={"key": key})
        assert answer.status_code == 202, answer.text
        return answer.headers["location"].removeprefix("/api/v1"), answer.json()

    async def until(self, path: str, **wanted: Any) -> dict[str, Any]:
        """Return an operation, or a task, as soon as it has these values."""
        seen: dict[str, Any] = {}
        try:
            async with asyncio.timeout(10):
                while True:
                    seen = ok(await self.owner.http.get(path))
                    if all(seen[name] == value for name, value in wanted.items()):
                        return seen
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"waited for {wanted}: {seen}") from None


@pytest.fixture
async def scene(server_factory: ServerFactory, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr("courtyard.server.installed", lambda names: [*installed(names), probe.application])
    server = await server_factory(server={"shutdown_timeout_seconds": 1})
    make = Factory(server)
    yield Scene(server, make, await make.workspace())
    await make.close()


class TestOperations:
    async def test_from_202_to_the_result(self, scene: Scene, script: Keep, gate: Gate) -> None:
        async def copy(context: Context) -> dict[str, int]:
            report(context, phase="copying", percent=40, message="4 of 10")
            await gate(context)
            return {"copied": 10}

        path, begun = await scene.begin(script(copy))
        assert (begun["name"], begun["state"], begun["result"]) == ("probe.operate", "waiting", None)
        seen = await scene.until(path, phase="copying")
        assert (seen["state"], seen["percent"], seen["message"]) == ("running", 40, "4 of 10")
        gate.open()
        seen = await scene.until(path, state="done")
        assert (seen["result"], seen["problem"]) == ({"copied": 10}, None)

    async def test_what_went_wrong_is_told_without_the_words_of_a_fault(self, scene: Scene, script: Keep) -> None:
        async def give_up(_: Context) -> None:
            raise GiveUp("The archive is damaged.")

        async def break_down(_: Context) -> None:
            raise RuntimeError("row 17 of table x")

        path, _ = await scene.begin(script(give_up))
        seen = await scene.until(path, state="failed")
        assert seen["problem"]["detail"] == "The archive is damaged."
        path, _ = await scene.begin(script(break_down))
        while (seen := ok(await scene.owner.http.get(path)))["problem"] is None:  # noqa: ASYNC110 - another process may
            await asyncio.sleep(0.01)
        assert (seen["problem"]["code"], "detail" in seen["problem"]) == ("task_fault", False)
        task = ok(await scene.owner.http.get(f"{scene.workspace.path}/tasks/{seen['id']}"))
        assert task["problem"]["detail"] == "RuntimeError: row 17 of table x"

    async def test_it_is_nobody_elses(self, scene: Scene, script: Keep, gate: Gate) -> None:
        path, _ = await scene.begin(script(gate))
        member = await scene.make.member(scene.workspace, "administrator")
        for answer in (
            await member.http.get(path),
            await member.http.get(f"{path}/events"),
            await member.http.post(f"{path}/cancel"),
        ):
            problem(answer, 404, "not_found")

    async def test_cancelling_what_runs(self, scene: Scene, script: Keep, gate: Gate) -> None:
        path, _ = await scene.begin(script(gate))
        await gate.reach(1)
        assert ok(await scene.owner.http.post(f"{path}/cancel"))["cancel_requested"]
        await scene.until(path, state="cancelled")
        assert gate.inside == 0
        problem(await scene.owner.http.post(f"{path}/cancel"), 409, "task_ended")

    async def test_the_stream_tells_every_state_until_the_end(self, scene: Scene, script: Keep, gate: Gate) -> None:
        async def copy(context: Context) -> None:
            await gate(context)
            report(context, percent=70)
            await asyncio.sleep(0.1)

        path, _ = await scene.begin(script(copy))
        told: list[dict[str, Any]] = []
        client = scene.server.network_client(headers=scene.owner.headers, base_url=f"{scene.server.url}/api/v1")
        async with client, asyncio.timeout(20), client.stream("GET", f"{path}/events") as stream:
            # What has no end yet is not waited for.
            assert (await client.head(f"{path}/events")).headers["content-type"] == stream.headers["content-type"]
            assert stream.headers["content-type"].startswith("text/event-stream")
            async for line in stream.aiter_lines():
                if line.startswith("data: "):
                    told.append(json.loads(line.removeprefix("data: ")))
                    gate.open()
        assert told[-1]["state"] == "done"
        assert 70 in {each["percent"] for each in told}

    async def test_nothing_is_left_of_a_stream_whose_client_has_gone(
        self, scene: Scene, script: Keep, gate: Gate
    ) -> None:
        path, _ = await scene.begin(script(gate))
        dispatcher = scene.server.runtime.dispatcher
        client = scene.server.network_client(headers=scene.owner.headers, base_url=f"{scene.server.url}/api/v1")
        async with client, asyncio.timeout(20), client.stream("GET", f"{path}/events") as stream:
            assert (await anext(stream.aiter_lines())) == "event: operation"
            assert dispatcher.topics == 1
        # Long before there is anything to send to it, such as that it is still there.
        async with asyncio.timeout(KEEP_ALIVE_SECONDS / 2):
            while dispatcher.topics:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
        gate.open()
        await scene.until(path, state="done")

    async def test_the_topic_tells_whoever_asked(self, scene: Scene, script: Keep, gate: Gate) -> None:
        path, begun = await scene.begin(script(gate))
        await gate.reach(1)
        topic = {"workspace": scene.workspace.slug, "topic": f"operations.operation:{begun['id']}"}
        stranger = await scene.make.socket(await scene.make.member(scene.workspace))
        assert (await stranger.call("subscribe", topic))["problem"]["code"] == "not_found"
        socket = await scene.make.socket(scene.owner)
        await socket.ok("subscribe", **topic)
        gate.open()
        (event,) = await socket.wait_for("event", 1)
        assert (event["name"], event["data"]["operation"]["state"]) == ("operations.operation.changed", "done")
        assert path.endswith(begun["id"])


class TestAdministration:
    async def failed(self, scene: Scene, script: Keep) -> tuple[str, list[int]]:
        """Let an operation fail for good; return its path as a task, and how often it was tried."""
        tries: list[int] = []

        async def give_up(context: Context) -> None:
            tries.append(len(tries))
            if len(tries) == 1:
                raise GiveUp("The disk is full.")
            probe.effect(context, "done at last")

        path, begun = await scene.begin(script(give_up))
        await scene.until(path, state="failed")
        return f"{scene.workspace.path}/tasks/{begun['id']}", tries

    async def test_failures_are_listed_and_done_again(self, scene: Scene, script: Keep) -> None:
        path, tries = await self.failed(scene, script)
        listed = ok(await scene.owner.http.get(f"{scene.workspace.path}/tasks?state=failed&name=probe.operate"))
        (task,) = listed["items"]
        assert (task["problem"]["code"], task["account_id"]) == ("task_failed", str(scene.owner.id))
        assert ok(await scene.owner.http.get(f"{scene.workspace.path}/tasks?state=done"))["items"] == []
        assert ok(await scene.owner.http.post(f"{path}/replay"))["state"] == "waiting"
        await scene.until(path, state="done")
        assert len(tries) == 2
        problem(await scene.owner.http.post(f"{path}/replay"), 409, "task_not_failed")
        problem(await scene.owner.http.post(f"{path}/cancel"), 409, "task_ended")

    async def test_what_was_done_about_a_task_is_in_the_audit_log(self, scene: Scene, script: Keep) -> None:
        path, _ = await self.failed(scene, script)
        ok(await scene.owner.http.post(f"{path}/replay"))
        audit = ok(await scene.owner.http.get(f"{scene.workspace.path}/audit?name=tasks:task:replayed"))
        assert [entry["actor_id"] for entry in audit["items"]] == [str(scene.owner.id)]

    async def test_pages(self, scene: Scene, script: Keep, gate: Gate) -> None:
        gate.open()
        begun = [(await scene.begin(script(gate)))[1]["id"] for _ in range(3)]
        path = f"{scene.workspace.path}/tasks?limit=2"
        first = ok(await scene.owner.http.get(path))
        rest = ok(await scene.owner.http.get(f"{path}&cursor={first['next']}"))
        assert [task["id"] for task in [*first["items"], *rest["items"]]] == begun[::-1]

    @pytest.mark.parametrize("query", ["state=lost", "limit=0", "cursor=x", "name="])
    async def test_bad_input(self, scene: Scene, query: str) -> None:
        answer: httpx2.Response = await scene.owner.http.get(f"{scene.workspace.path}/tasks?{query}")
        problem(answer, 400, "invalid_input")
