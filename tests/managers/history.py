"""A history in which every event of the closed table happens, told by the real managers."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import uvloop

from foundry.domain.entry import INSTANCE_LOG, Entry
from foundry.domain.errors import LockHeld
from foundry.domain.project import Role
from foundry.domain.session import CloseReason
from foundry.managers.drafts import SaveRequest
from foundry.managers.projects import ProjectChange
from foundry.managers.sessions import OpenSession
from tests.managers.workspace import ALICE, BOB, Workspace, opened


async def live_through(workspace: Workspace) -> str:
    """Let everything happen in one project; returns its id. Head version 3, ``topology`` held by Bob."""
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
    await workspace.projects.set_member(ALICE, project_id, "carol", Role.VIEWER, reason="to watch")
    await workspace.projects.remove_member(ALICE, project_id, "carol")
    await workspace.sessions.close(mine, CloseReason.LEAVE, by=ALICE)
    workspace.denials.authentication_failed("TOKEN_EXPIRED")
    await workspace.denials.flush()
    return project_id


def told(directory: Path) -> list[Entry]:
    """All stored entries of such a history, of the project's log and of the instance's."""

    async def tell() -> list[Entry]:
        async with opened(directory) as workspace:
            project_id = await live_through(workspace)
            return [*await workspace.log(INSTANCE_LOG), *await workspace.log(project_id)]

    # With a factory the runner leaves the thread's current loop alone, which other tests may rely on.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(tell())
