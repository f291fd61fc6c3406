"""A history in which every event of the closed table happens, told by the real managers."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import uvloop

from foundry.domain.comment import CommentKind
from foundry.domain.entry import INSTANCE_LOG, Entry
from foundry.domain.errors import LockHeld
from foundry.domain.project import Role
from foundry.domain.run import LogLine, LogStream, RunResult, RunState
from foundry.domain.session import CloseReason
from foundry.managers.anchoring import WantedAnchor
from foundry.managers.comments import Edit, WantedComment
from foundry.managers.drafts import SaveRequest
from foundry.managers.projects import ProjectChange
from foundry.managers.runs import WantedRun
from foundry.managers.sessions import OpenSession
from tests.managers.workspace import ALICE, BOB, Workspace, opened


async def live_through(workspace: Workspace) -> str:
    """Let everything happen in one project but its freeze; returns its id.

    Head version 3, ``topology`` held by Bob, a run that runs beside a finished one, comments, one of them deleted.
    """
    project_id = await workspace.project(ALICE, BOB)
    change = ProjectChange(name="Renamed", description="d", labels={"a": "b"}, policy={"min_approvals": 2})
    await workspace.projects.update(ALICE, project_id, change, reason="because")
    await workspace.projects.archive(ALICE, project_id, reason="rest")
    await workspace.projects.unarchive(ALICE, project_id)
    attached = await workspace.sessions.open(ALICE, OpenSession(project_id, tab_id="t"))
    wanted = OpenSession(project_id, "t", attached.session.session_id, attached.secret)
    mine = (await workspace.sessions.open(ALICE, wanted)).session
    his = await workspace.session(project_id, BOB)
    lock = await workspace.lock(mine, "system_prompt")
    with contextlib.suppress(LockHeld):
        await workspace.lock(his, "system_prompt", BOB)
    await workspace.save(lock, "one", 0)
    await workspace.save_unary(project_id, 1, {"system_prompt": "two", "scratchpad": "note"})
    await workspace.drafts.revert(ALICE, SaveRequest(project_id, 2, {}, reason="back"), 1, ["system_prompt"])
    await workspace.lock(his, "topology", BOB)
    await _test(workspace, project_id, finish=True)
    await _discuss(workspace, project_id, await _test(workspace, project_id, finish=False))
    await workspace.projects.set_member(ALICE, project_id, "carol", Role.VIEWER, reason="to watch")
    await workspace.projects.remove_member(ALICE, project_id, "carol")
    await workspace.sessions.close(mine, CloseReason.LEAVE, by=ALICE)
    await workspace.denials.flush()
    return project_id


async def _test(workspace: Workspace, project_id: str, *, finish: bool) -> str:
    """Run a test of the head with a console of two pieces; returns its id."""
    run = (await workspace.runs.start(BOB, project_id, WantedRun(harness="pytest 9"))).run
    first = [LogLine(1, "collecting ...", time_us=5), LogLine(2, "1 pas", LogStream.STDERR, partial=True)]
    for lines in (first, [LogLine(3, "sed", LogStream.STDERR)]):
        await workspace.runs.append(BOB, project_id, run.run_id, lines)
    if finish:
        results = (RunResult("careful", passed=True, value="0.98"),)
        await workspace.runs.finish(BOB, project_id, run.run_id, RunState.PASSED, results=results)
    return run.run_id


async def _discuss(workspace: Workspace, project_id: str, run_id: str) -> str:
    """Comment, edit, reply, close, open again, and delete the reply; returns the id of the thread."""
    anchor = WantedAnchor(1, "", "system_prompt", 1, 1, "")
    task = WantedComment("Say why.", anchor, CommentKind.TASK, assignee="bob", run_id=run_id)
    comment_id = (await workspace.comments.create(ALICE, project_id, task)).comment.comment_id
    edit = Edit(project_id, comment_id)
    await workspace.comments.update(ALICE, edit, text="Say why, and for whom.", assignee="alice")
    answer = WantedComment("Done.", parent_comment_id=comment_id)
    reply_id = (await workspace.comments.create(BOB, project_id, answer)).comment.comment_id
    await workspace.comments.set_closed(BOB, edit, closed=True)
    await workspace.comments.set_closed(ALICE, edit, closed=False)
    await workspace.comments.delete(BOB, Edit(project_id, reply_id))
    return comment_id


async def release(workspace: Workspace) -> tuple[str, str]:
    """Let another project be tested, frozen, handed over and gone on from; returns its id and the revision's."""
    project_id = await workspace.project(ALICE, BOB)
    await workspace.save_unary(project_id, 0, {"system_prompt": "three", "logo": "", "scratchpad": "to do"})
    run_id = await _test(workspace, project_id, finish=True)
    await _discuss(workspace, project_id, run_id)
    await workspace.exports.for_assay(BOB, project_id)
    await workspace.exports.freeze(ALICE, project_id, 1, reason="It is time.")
    async with contextlib.aclosing(workspace.bundler.export(BOB, project_id)) as parts:
        async for _ in parts:
            pass
    revision = await workspace.exports.start_revision(BOB, project_id, reason="Next year's rules.")
    return project_id, revision.project_id


def told(directory: Path) -> list[Entry]:
    """All stored entries of such a history: of the instance's log, and of those of the projects by age."""

    async def tell() -> list[Entry]:
        async with opened(directory) as workspace:
            logs = [INSTANCE_LOG, await live_through(workspace), *await release(workspace)]
            workspace.denials.authentication_failed("TOKEN_EXPIRED")
            await workspace.denials.flush()
            return [entry for log in logs for entry in await workspace.log(log)]

    # With a factory the runner leaves the thread's current loop alone, which other tests may rely on.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(tell())
