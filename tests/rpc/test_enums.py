"""Enums of the domain and of the contract correspond one to one, by name."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import pytest

from coreason.foundry.v1 import (
    audit_pb2,
    comment_pb2,
    draft_pb2,
    lock_pb2,
    project_pb2,
    run_pb2,
    session_event_pb2,
    types_pb2,
)
from foundry.content import Change as DeltaChange
from foundry.domain.comment import CLOSED, AnchorState, CommentKind, CommentState
from foundry.domain.draft import DraftOrigin, SaveOutcome
from foundry.domain.errors import InvalidArgument
from foundry.domain.events import ResyncReason
from foundry.domain.field import FieldKind
from foundry.domain.lock import ReleaseReason
from foundry.domain.principal import PrincipalKind
from foundry.domain.project import AgentAccess, ProjectState, Role
from foundry.domain.run import LogStream, RunState
from foundry.domain.session import Attachment, CloseReason
from foundry.rpc import codec, encoding, validation

PAIRS: dict[type[enum.StrEnum], tuple[Any, str]] = {
    PrincipalKind: (types_pb2.PrincipalKind, "PRINCIPAL_KIND_"),
    ProjectState: (project_pb2.ProjectState, "PROJECT_STATE_"),
    Role: (project_pb2.Role, "ROLE_"),
    AgentAccess: (project_pb2.AgentAccess, "AGENT_ACCESS_"),
    FieldKind: (draft_pb2.FieldKind, "FIELD_KIND_"),
    DraftOrigin: (draft_pb2.DraftOrigin, "DRAFT_ORIGIN_"),
    SaveOutcome: (draft_pb2.SaveOutcome, "SAVE_OUTCOME_"),
    ReleaseReason: (lock_pb2.LockReleaseReason, "LOCK_RELEASE_REASON_"),
    CloseReason: (audit_pb2.SessionCloseReason, "SESSION_CLOSE_REASON_"),
    Attachment: (session_event_pb2.Attachment, "ATTACHMENT_"),
    ResyncReason: (session_event_pb2.ResyncReason, "RESYNC_REASON_"),
    CommentKind: (comment_pb2.CommentKind, "COMMENT_KIND_"),
    CommentState: (comment_pb2.CommentState, "COMMENT_STATE_"),
    AnchorState: (comment_pb2.AnchorState, "ANCHOR_STATE_"),
    RunState: (run_pb2.RunState, "RUN_STATE_"),
    LogStream: (run_pb2.LogStream, "LOG_STREAM_"),
}
MAPS: list[dict[Any, Any]] = [
    codec.KIND,
    codec.STATE,
    codec.ROLE,
    codec.AGENT_ACCESS,
    codec.FIELD_KIND,
    codec.ORIGIN,
    codec.OUTCOME,
    codec.COMMENT_KIND,
    codec.COMMENT_STATE,
    codec.ANCHOR_STATE,
    codec.RUN_STATE,
    codec.LOG_STREAM,
    encoding._ATTACHMENT,
    encoding._RESYNC,
]


@pytest.mark.parametrize("domain", PAIRS, ids=lambda kind: kind.__name__)
def test_the_names_are_the_same(domain: type[enum.StrEnum]) -> None:
    """Nothing can be said inside that clients have no word for, and the contract has no word that is never said."""
    wire, prefix = PAIRS[domain]
    assert {f"{prefix}{member.value}" for member in domain} == set(wire.keys()) - {f"{prefix}UNSPECIFIED"}
    assert wire.Value(f"{prefix}UNSPECIFIED") == 0


@pytest.mark.parametrize("mapped", MAPS, ids=lambda mapped: type(next(iter(mapped))).__name__)
def test_each_value_is_mapped_to_its_own(mapped: dict[enum.StrEnum, int]) -> None:
    """All members, each to the number of its name."""
    domain = type(next(iter(mapped)))
    wire, prefix = PAIRS[domain]
    assert mapped == {member: wire.Value(f"{prefix}{member.value}") for member in domain}


def test_every_kind_of_change_has_a_word() -> None:
    """A field of which only the kind changed is modified: it is listed, so it changed."""
    words = {change: draft_pb2.DeltaKind.Name(kind) for change, kind in codec.DELTA.items()}
    assert words.keys() == set(DeltaChange)
    assert words == {
        change: f"DELTA_KIND_{'MODIFIED' if change is DeltaChange.UNCHANGED else change.name}" for change in DeltaChange
    }


@pytest.mark.parametrize("number", [-1, 99, 2**31 - 1])
def test_a_number_without_a_name_is_refused(number: int) -> None:
    """Protobuf lets any number through; the edge does not."""
    readers: list[Callable[[int], object]] = [
        *(validation.role, validation.state_filter, validation.field_kind, validation.comment_kind),
        *(validation.comment_state, validation.run_state, validation.log_stream),
    ]
    for read in readers:
        with pytest.raises(InvalidArgument):
            read(number)
    with pytest.raises(InvalidArgument):
        validation.policy(project_pb2.Policy(agent_access=number))  # type: ignore[arg-type]  # as a client can


def test_not_said_is_a_default_only_where_the_contract_says_so() -> None:
    """No role is no role; no filter is any state, no kind is the field's own, no access SUGGEST_ONLY."""
    with pytest.raises(InvalidArgument):
        validation.role(0)
    assert (validation.state_filter(0), validation.field_kind(0)) == (None, None)
    assert (validation.comment_kind(0), validation.comment_state(0), validation.run_state(0)) == (None, None, None)
    assert validation.log_stream(0) is LogStream.STDOUT
    assert validation.policy(project_pb2.Policy()).agent_access is AgentAccess.SUGGEST_ONLY


@pytest.mark.parametrize("role", Role)
def test_what_is_read_is_what_was_written(role: Role) -> None:
    """A role that went out comes in as itself."""
    assert validation.role(codec.ROLE[role]) is role


def test_every_kind_of_comment_has_a_state_that_closes_it() -> None:
    """No two share one, and none is closed by being open."""
    assert CLOSED.keys() == set(CommentKind)
    assert {CommentState.OPEN, *CLOSED.values()} == set(CommentState)
    assert len(set(CLOSED.values())) == len(CommentKind)
