"""Releases: whenever a project is frozen, whatever was done before and whatever is tried after, it stays what it is."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import grpc
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from coreason.foundry.v1 import project_pb2, run_pb2
from foundry.client import FoundryError, from_rpc_error
from foundry.client.live.reader import Reader
from tests.properties.session_rules import outcome_of
from tests.properties.world import OWNER, PEOPLE, World
from tests.stories.log_replay import read_log, verified_replay

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from foundry.client import Foundry
    from tests.stories.raw import RawStream

_EXAMPLES: Final = os.environ.get("FOUNDRY_EXAMPLES", "")
_FIELDS: Final = ("system_prompt", "notes", "scratchpad")
_ENDS: Final = (run_pb2.RUN_STATE_PASSED, run_pb2.RUN_STATE_FAILED, run_pb2.RUN_STATE_ERRORED)
#: What changes content, comments or runs, or tries to; and what a frozen project still takes.
_CHANGES: Final = (
    *("save", "remove", "revert", "lock", "comment", "reply", "edit", "delete", "resolve", "reopen", "start", "append"),
    *("finish", "cancel", "rename", "freeze"),
)
_HARMLESS: Final = ("put_away", "take_out", "let_in", "let_go", "export", "revise", "watch")


@dataclass(frozen=True)
class Step:
    """Something that somebody does; the numbers choose with what."""

    what: str
    who: str
    number: int
    text: str


def _steps(*what: str, max_size: int) -> st.SearchStrategy[list[Step]]:
    # Saving comes often: there is nothing to do much with before.
    chosen = st.sampled_from(["save", *what, "save"])
    one = st.builds(Step, chosen, st.sampled_from(PEOPLE), st.integers(0, 1000), st.text(min_size=1, max_size=12))
    return st.lists(one, max_size=max_size)


@settings(
    max_examples=int(_EXAMPLES or "30"),
    deadline=None,
    # Shrinking takes minutes; whoever asks for more examples has the time.
    phases=[Phase.explicit, Phase.reuse, Phase.generate, *([Phase.shrink] if _EXAMPLES else [])],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(before=_steps(*_CHANGES, *_HARMLESS, max_size=14), after=_steps(*_CHANGES, *_HARMLESS, max_size=12))
def test_nothing_of_a_release_ever_changes(world: World, before: list[Step], after: list[Step]) -> None:
    """Content of every version, comments, runs and their consoles, and the bytes of the bundle.

    Whatever would have changed them is refused, and the log that tells it all is whole.
    """
    world.run(_play(world, before, after))


async def _play(world: World, before: list[Step], after: list[Step]) -> None:
    history = History(world, await world.project())
    for step in before:
        await outcome_of(history.play(step))
    await history.freeze()
    kept, bundle = await history.record(), await history.bundle()
    for step in after:
        refusal, _ = await outcome_of(history.play(step))
        if step.what in _CHANGES:
            # Whoever cannot do it anyway is told that first.
            assert refusal in {"PROJECT_FROZEN", "ROLE_TOO_LOW", "SESSION_CLOSED"}, (step, refusal)
    assert await history.record() == kept
    assert await history.bundle() == bundle
    owner = world.clients[OWNER]
    await verified_replay(owner, history.project_id)
    arms = [entry.WhichOneof("payload") for entry in await read_log(owner, history.project_id)]
    late = {"draft_created", "lock_acquired", "lock_released", "comment_created", "comment_updated", "comment_deleted"}
    late |= {"comment_state_changed", "run_started", "run_finished", "project_updated", "project_frozen"}
    assert not late & set(arms[arms.index("project_frozen") + 1 :])


async def _hang_up(stream: RawStream) -> None:
    stream.drop()
    with contextlib.suppress(FoundryError, asyncio.CancelledError):
        await stream.ended()


@dataclass
class History:
    """What happens in one project, and what there is to do something with."""

    world: World
    project_id: str
    comments: list[str] = field(default_factory=list)
    runs: list[tuple[str, str]] = field(default_factory=list)

    @property
    def owner(self) -> Foundry:
        """The owner's client."""
        return self.world.clients[OWNER]

    def play(self, step: Step) -> Awaitable[Any]:
        """Do a step, or raise the refusal."""
        played: Awaitable[Any] = getattr(self, f"_{step.what}")(self.world.clients[step.who], step)
        return played

    # --- content ---

    async def _head(self) -> int:
        return (await self.owner.projects.get(self.project_id)).head_version

    async def _save(self, client: Foundry, step: Step) -> None:
        changes = {_FIELDS[step.number % 3]: step.text}
        await client.drafts.save(self.project_id, changes, base_version=await self._head())

    async def _remove(self, client: Foundry, step: Step) -> None:
        await client.drafts.save(self.project_id, {_FIELDS[step.number % 3]: None}, base_version=await self._head())

    async def _revert(self, client: Foundry, step: Step) -> None:
        head = await self._head()
        await client.drafts.revert(self.project_id, 1 + step.number % max(1, head), base_version=head)

    async def _lock(self, client: Foundry, step: Step) -> None:
        stream = self.world.stream(step.who)
        await stream.open(self.project_id)
        try:
            lock = await client.locks.acquire(self.project_id, _FIELDS[step.number % 3], stream.session_id)
            if step.number % 2:  # else it is held when the stream breaks
                await client.locks.release(self.project_id, lock.lock.field, stream.session_id, lock.lock.fencing_token)
        finally:
            await _hang_up(stream)

    async def _rename(self, client: Foundry, step: Step) -> None:
        await client.projects.update(self.project_id, name=f"{step.text}.")

    # --- comments ---

    def _comment_id(self, step: Step) -> str:
        return self.comments[step.number % len(self.comments)] if self.comments else "none"

    async def _comment(self, client: Foundry, step: Step) -> None:
        made = await client.comments.create(self.project_id, f"{step.text}.", task=step.number % 2 == 1)
        self.comments.append(made.comment_id)

    async def _reply(self, client: Foundry, step: Step) -> None:
        thread = self._comment_id(step)
        made = await client.comments.create(self.project_id, f"{step.text}.", reply_to=thread if self.comments else "")
        self.comments.append(made.comment_id)

    async def _edit(self, client: Foundry, step: Step) -> None:
        await self._of_comment(client.comments.update, step, text=f"{step.text}!")

    async def _delete(self, client: Foundry, step: Step) -> None:
        await self._of_comment(client.comments.delete, step)

    async def _resolve(self, client: Foundry, step: Step) -> None:
        await self._of_comment(client.comments.resolve, step)

    async def _reopen(self, client: Foundry, step: Step) -> None:
        await self._of_comment(client.comments.reopen, step)

    async def _of_comment(self, verb: Any, step: Step, **more: str) -> None:
        if not self.comments:
            await self._comment(self.world.clients[step.who], step)
        await verb(self.project_id, self._comment_id(step), **more)

    # --- runs ---

    async def _start(self, client: Foundry, step: Step) -> None:
        run = await client.runs.start(self.project_id, harness=step.text)
        self.runs.append((run.run_id, step.who))

    async def _a_run(self, step: Step) -> tuple[str, str]:
        if not self.runs:
            await self._start(self.world.clients[step.who], step)
        return self.runs[step.number % len(self.runs)]

    async def _append(self, _: Foundry, step: Step) -> None:
        run_id, starter = await self._a_run(step)
        count = (await self.owner.runs.get(self.project_id, run_id)).line_count
        call = self.world.append(starter)
        answers = Reader[run_pb2.AppendRunLogResponse](call)
        lines = [run_pb2.LogLine(number=count + 1, text=step.text)]
        with contextlib.suppress(grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError):  # who reads is told
            await call.write(run_pb2.AppendRunLogRequest(project_id=self.project_id, run_id=run_id, lines=lines))
            await call.done_writing()
        try:
            while await answers.read():
                pass
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    async def _finish(self, _: Foundry, step: Step) -> None:
        run_id, starter = await self._a_run(step)
        await self.world.clients[starter].runs.finish(self.project_id, run_id, _ENDS[step.number % 3])

    async def _cancel(self, _: Foundry, step: Step) -> None:
        run_id, _who = await self._a_run(step)
        await self.owner.runs.cancel(self.project_id, run_id)

    # --- what stays possible ---

    async def _put_away(self, _: Foundry, step: Step) -> None:
        await self.owner.projects.archive(self.project_id)
        if step.number % 3:
            await self.owner.projects.unarchive(self.project_id)

    async def _take_out(self, _: Foundry, __: Step) -> None:
        await self.owner.projects.unarchive(self.project_id)

    async def _let_in(self, _: Foundry, __: Step) -> None:
        await self.owner.projects.set_member(self.project_id, "guest", project_pb2.ROLE_VIEWER)

    async def _let_go(self, _: Foundry, __: Step) -> None:
        await self.owner.projects.remove_member(self.project_id, "guest")

    async def _export(self, client: Foundry, step: Step) -> None:
        await client.exports.for_assay(self.project_id, include_scratchpad=step.number % 2 == 1)

    async def _revise(self, client: Foundry, step: Step) -> None:
        revision = await client.exports.start_revision(self.project_id)
        changes = {"system_prompt": f"{step.text} and more"}
        await client.drafts.save(revision.project_id, changes, base_version=revision.head_version)

    async def _watch(self, _: Foundry, step: Step) -> None:
        stream = self.world.stream(step.who)
        await stream.open(self.project_id)
        await _hang_up(stream)

    # --- the freeze ---

    async def _freeze(self, client: Foundry, _: Step) -> None:
        await client.exports.freeze(self.project_id, max(1, await self._head()))

    async def freeze(self) -> None:
        """Freeze it, if it is not; end and begin what has to be."""
        project = await self.owner.projects.get(self.project_id)
        if project.state == project_pb2.PROJECT_STATE_FROZEN:
            return
        await self.owner.projects.unarchive(self.project_id)
        if not project.head_version:
            await self.owner.drafts.save(self.project_id, {"system_prompt": "one"}, base_version=0)
        async for run in self.owner.runs.list(self.project_id, state=run_pb2.RUN_STATE_RUNNING):
            await self.owner.runs.cancel(self.project_id, run.run_id)
        await self.owner.exports.freeze(self.project_id, max(1, project.head_version))

    async def record(self) -> list[Any]:
        """What a release is, read by the owner."""
        owner, project_id = self.owner, self.project_id
        made = (await owner.exports.get_freeze(project_id)).SerializeToString(deterministic=True)
        versions = [await owner.drafts.get(project_id, number) for number in range(1, await self._head() + 1)]
        comments = [comment async for comment in owner.comments.list(project_id)]
        runs = [run async for run in owner.runs.list(project_id)]
        consoles = [[line async for line in owner.runs.read_log(project_id, run.run_id)] for run in runs]
        project = await owner.projects.get(project_id)
        told = (project.name, project.description, project.head_version, project.current_draft_id, project.state)
        return [made, versions, comments, runs, consoles, told, [lock async for lock in owner.locks.list(project_id)]]

    async def bundle(self) -> str:
        """The hash of its bundle."""
        hashed = hashlib.sha256()
        async with self.owner.exports.for_publisher(self.project_id) as handed:
            async for data in handed:
                hashed.update(data)
        return hashed.hexdigest()
