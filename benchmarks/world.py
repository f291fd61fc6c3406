"""What a measurement needs to exist first: projects with fields and members."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import grpc

from benchmarks.loads.unary import TEXT, bearer
from coreason.foundry.v1 import draft_pb2, draft_pb2_grpc, project_pb2, project_pb2_grpc

if TYPE_CHECKING:
    from types import TracebackType

    from benchmarks.servers import Server


@dataclass(frozen=True, slots=True)
class Project:
    """A project at version 1 with the fields ``field_0`` and so on, 2 kB of text each."""

    project_id: str
    #: A token for each member; the first is the owner's.
    tokens: list[str]


class World:
    """Makes projects. Use as a context manager."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._channel = grpc.insecure_channel(server.address)
        # The stubs are typed for grpc.aio only.
        blocking: Any = self._channel
        self._projects: Any = project_pb2_grpc.ProjectServiceStub(blocking)
        self._drafts: Any = draft_pb2_grpc.DraftServiceStub(blocking)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._channel.close()

    def project(self, *, members: int = 1, fields: int = 4) -> Project:
        """A new project; its members but the first are editors."""
        tokens = self._server.tokens(members)
        metadata = bearer(tokens[0])
        request = project_pb2.CreateProjectRequest(name="Oncology Clinical Protocol Agent")
        project_id: str = self._projects.CreateProject(request, metadata=metadata).project.project_id
        for number in range(1, members):
            member = project_pb2.SetMemberRequest(
                project_id=project_id, subject=f"user-{number}", role=project_pb2.ROLE_EDITOR
            )
            self._projects.SetMember(member, metadata=metadata)
        changes = [draft_pb2.FieldChange(field=f"field_{number}", text=f"{number} {TEXT}") for number in range(fields)]
        self._drafts.CreateDraft(
            draft_pb2.CreateDraftRequest(project_id=project_id, changes=changes), metadata=metadata
        )
        return Project(project_id, tokens)

    def draft_size(self, project: Project) -> int:
        """Bytes of a ``GetDraft`` answer."""
        request = draft_pb2.GetDraftRequest(project_id=project.project_id)
        size: int = self._drafts.GetDraft(request, metadata=bearer(project.tokens[0])).ByteSize()
        return size
