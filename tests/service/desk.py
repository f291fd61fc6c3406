"""A project where every RPC finds what it needs."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from coreason.foundry.v1 import comment_pb2, project_pb2, run_pb2
from tests.service.forms import forms
from tests.service.house import House

_TIDYING = "tidying up"


@dataclass(frozen=True)
class Desk:
    """What is on it; all of it is ``olga``'s."""

    house: House
    project_id: str
    session_id: str
    fencing_token: int
    comment_id: str
    closed_id: str
    run_id: str

    def requests(self) -> dict[str, Message]:
        """Requests by the name of their RPC, each about something that is there."""
        there: dict[str, Any] = {
            "session_id": self.session_id,
            "fencing_token": self.fencing_token,
            "run_id": self.run_id,
        }
        about = forms(self.project_id, **there, field="locked", comment_id=self.comment_id)
        of_notes = forms(self.project_id, field="notes", comment_id=self.closed_id)
        changes = ("CreateDraft", "RevertDraft", "CreateComment", "ReopenComment")
        requests = about | {name: of_notes[name] for name in changes}
        for name in ("CreateDraft", "RevertDraft"):
            saving: Any = requests[name]
            saving.base_version = 2
        freezing: Any = requests["RequestFreeze"]
        freezing.expected_version = 2
        return requests

    def request(self, name: str) -> Any:
        """A request that does something, with a new id."""
        request: Any = self.requests()[name]
        request.request_id = str(uuid.uuid4())
        return request

    def attempts(self, name: str) -> list[Any]:
        """The same request without an id, and with a new one if it takes one: repetitions are answered elsewhere."""
        plain = self.requests()[name]
        return [plain, self.request(name)] if "request_id" in plain.DESCRIPTOR.fields_by_name else [plain]

    async def freeze(self) -> None:
        """Freeze the project, unless it is; what stands in the way is ended first."""
        call = self.house.olga.call
        project = (await call(project_pb2.GetProjectRequest(project_id=self.project_id))).project
        if project.state == project_pb2.PROJECT_STATE_FROZEN:
            return
        await call(project_pb2.UnarchiveProjectRequest(project_id=self.project_id, reason=_TIDYING))
        running = run_pb2.ListRunsRequest(project_id=self.project_id, state=run_pb2.RUN_STATE_RUNNING)
        for run in (await call(running)).runs:
            cancel = run_pb2.CancelRunRequest(project_id=self.project_id, run_id=run.run_id, reason=_TIDYING)
            await call(cancel)
        await self.house.freeze(self.project_id, project.head_version)


@contextlib.asynccontextmanager
async def desk(house: House, name: str = "", *, require_reason: bool = False) -> AsyncIterator[Desk]:
    """Two versions of ``notes``, a member ``mia``, a session that holds ``locked``, two comments, and a run that runs.

    Args:
        name: The RPC it is for: where it takes a finished run, or a frozen project, it finds that.
        require_reason: A rule of the project's policy.
    """
    call = house.olga.call
    project_id = await house.project(mia=project_pb2.ROLE_EDITOR)
    await house.olga.save(project_id, notes="v1")
    await house.olga.save(project_id, 1, notes="v2")
    if require_reason:
        rule, mask = project_pb2.Policy(require_reason=True), FieldMask(paths=["policy.require_reason"])
        changed = project_pb2.Project(policy=rule)
        await call(project_pb2.UpdateProjectRequest(project_id=project_id, project=changed, update_mask=mask))
    notes = comment_pb2.Anchor(version_number=2, field="notes", start_line=1, end_line=1)
    said = [
        (await call(comment_pb2.CreateCommentRequest(project_id=project_id, text=text, anchor=notes))).comment
        for text in ("Why?", "Closed.")
    ]
    closed_id = said[1].comment_id
    await call(comment_pb2.ResolveCommentRequest(project_id=project_id, comment_id=closed_id, reason=_TIDYING))
    run = (await call(run_pb2.StartRunRequest(project_id=project_id))).run
    async with house.olga.session(project_id) as session:
        lock = await session.acquire("locked")
        ids = (said[0].comment_id, closed_id, run.run_id)
        made = Desk(house, project_id, session.session_id, lock.fencing_token, *ids)
        if name == "RequestFreeze":
            await call(run_pb2.CancelRunRequest(project_id=project_id, run_id=run.run_id, reason=_TIDYING))
        if name == "StartRevision":
            await made.freeze()
        yield made
