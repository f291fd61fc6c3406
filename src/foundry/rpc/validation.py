"""What a request must look like before anything is done with it: the bounds of the contract, enforced once."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from coreason.foundry.v1 import comment_pb2, draft_pb2, project_pb2, run_pb2
from foundry.domain.comment import CommentKind, CommentState
from foundry.domain.errors import InvalidArgument, Violation
from foundry.domain.field import FieldKind
from foundry.domain.project import AgentAccess, Policy, ProjectState, Role
from foundry.domain.run import LogStream, RunState

PAGE_SIZE_DEFAULT = 50
PAGE_SIZE_MAX = 1_000
_INT64_MAX = 2**63 - 1
_LABELS_MAX = 64
_LABEL_BYTES_MAX = 100


def _bytes_at_most(limit: int) -> AfterValidator:
    def check(text: str) -> str:
        if len(text.encode()) > limit:
            raise ValueError(f"at most {limit} bytes")
        return text

    return AfterValidator(check)


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


def _labels(labels: dict[str, str]) -> dict[str, str]:
    if len(labels) > _LABELS_MAX:
        raise ValueError(f"at most {_LABELS_MAX}")
    if any(not key or max(len(key.encode()), len(value.encode())) > _LABEL_BYTES_MAX for key, value in labels.items()):
        raise ValueError(f"keys (not empty) and values have at most {_LABEL_BYTES_MAX} bytes each")
    return labels


def _request_id(text: str) -> str:
    if not text:
        return text
    try:
        return str(UUID(text))
    except ValueError:
        raise ValueError("must be a UUID") from None


Text200 = Annotated[str, _bytes_at_most(200)]
Text100 = Annotated[str, _bytes_at_most(100)]
Text4K = Annotated[str, _bytes_at_most(4096)]
Text64K = Annotated[str, _bytes_at_most(64 * 1024), AfterValidator(_not_blank)]
Id = Annotated[str, Field(min_length=1, max_length=100)]
OptionalId = Annotated[str, Field(max_length=100)]
Name = Annotated[str, _bytes_at_most(200), AfterValidator(_not_blank)]
OptionalName = Annotated[str, _bytes_at_most(200), AfterValidator(lambda text: text and _not_blank(text))]
Subject = Annotated[str, Field(min_length=1), _bytes_at_most(200)]
RequestId = Annotated[str, AfterValidator(_request_id)]
Token = Annotated[int, Field(ge=1, le=_INT64_MAX)]
Version = Annotated[int, Field(ge=0, le=_INT64_MAX)]
Labels = Annotated[dict[str, str], AfterValidator(_labels)]


class Checked(BaseModel):
    """Base of all checked requests. Members are named as the request's fields, so that a refusal names them right."""

    model_config = ConfigDict(frozen=True)


class Mutation(Checked):
    """What every change may carry."""

    reason: Text4K = ""
    request_id: RequestId = ""


class ProjectFields(Checked):
    """What a project's owners may write."""

    name: Name
    description: Text4K = ""
    labels: Labels = Field(default_factory=dict)


class ProjectFilterFields(Checked):
    """What projects are looked for by."""

    name_contains: Text200 = ""
    labels: Labels = Field(default_factory=dict)


class MemberFields(Mutation):
    """What names a member."""

    subject: Subject
    display_name: Text200 = ""


class LockFields(Checked):
    """What names a held lock."""

    project_id: Id
    field: Text200
    session_id: Id
    fencing_token: Token
    request_id: RequestId = ""


class AcquireFields(Checked):
    """What an acquire asks for."""

    project_id: Id
    field: Text200
    session_id: Id
    purpose: Text200 = ""
    if_unchanged_since: Version = 0


class SaveFields(Checked):
    """What saves and reverts have in common."""

    project_id: Id
    base_version: Version
    session_id: OptionalId = ""
    keep_locks: bool = False
    message: Text4K = ""
    reason: Text4K = ""
    request_id: RequestId = ""
    validate_only: bool = False


class OpenFields(Checked):
    """What opens a session."""

    project_id: Id
    tab_id: Text100 = ""
    client_name: Text100 = ""
    client_version: Text100 = ""
    resume_session_id: OptionalId = ""
    resume_secret: Text200 = ""


class PageFields(Checked):
    """What every list takes."""

    page_size: Annotated[int, Field(ge=0, le=PAGE_SIZE_MAX)] = 0


class ActivityFields(Checked):
    """What a session shows of itself."""

    focus_field: Text200 = ""
    cursor: Text200 = ""
    activity: Text200 = ""


class AnchorFields(Checked):
    """What a comment is about."""

    version_number: Version = 0
    draft_id: OptionalId = ""
    field: Text200
    start_line: Annotated[int, Field(ge=0)] = 0
    end_line: Annotated[int, Field(ge=0)] = 0
    quote: Text4K = ""


class TextFields(Checked):
    """What somebody says."""

    text: Text64K


class AssigneeFields(Checked):
    """Who is to do a task; empty for nobody."""

    assignee: Text200 = ""


class CommentFields(TextFields, AssigneeFields):
    """A comment."""

    project_id: Id
    parent_comment_id: OptionalId = ""
    run_id: OptionalId = ""
    request_id: RequestId = ""


class CommentEditFields(Mutation):
    """What a change of a comment says."""

    project_id: Id
    comment_id: Id
    etag: OptionalId = ""


class RunFields(Checked):
    """What starts a run."""

    version_number: Version = 0
    harness: Text200 = ""
    labels: Labels = Field(default_factory=dict)
    attempt: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    session_id: OptionalId = ""
    request_id: RequestId = ""


class RunResultFields(Checked):
    """What one test came to."""

    name: Name
    passed: bool
    value: Text200 = ""


class RevisionFields(Mutation):
    """What starts a revision."""

    name: OptionalName = ""


C = TypeVar("C", bound=BaseModel)


def check(model: type[C], where: str = "", /, **values: Any) -> C:  # noqa: ANN401 - whatever the request holds
    """Check values against a model.

    Args:
        where: The request field that holds them, when it is not the request itself.

    Raises:
        InvalidArgument: Lists every violation.
    """
    try:
        return model(**values)
    except ValidationError as error:
        violations = [
            Violation(
                ".".join(str(part) for part in ((where,) if where else ()) + found["loc"]),
                found["msg"].removeprefix("Value error, "),
            )
            for found in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise InvalidArgument(violations[0].field, violations[0].description, more=violations[1:]) from None


# --- enums -------------------------------------------------------------------------------------------------------


def role(value: int) -> Role:
    """A role; none or an unknown one is refused."""
    return Role(_enum("role", project_pb2.Role, value, "ROLE_"))


def state_filter(value: int) -> ProjectState | None:
    """A state to filter by, or None for any."""
    return ProjectState(_enum("state", project_pb2.ProjectState, value, "PROJECT_STATE_")) if value else None


def field_kind(value: int) -> FieldKind | None:
    """A kind, or None for what the field has."""
    return FieldKind(_enum("changes.kind", draft_pb2.FieldKind, value, "FIELD_KIND_")) if value else None


def comment_kind(value: int) -> CommentKind | None:
    """A kind, or None when not said."""
    return CommentKind(_enum("kind", comment_pb2.CommentKind, value, "COMMENT_KIND_")) if value else None


def comment_state(value: int) -> CommentState | None:
    """A state to filter by, or None for any."""
    return CommentState(_enum("state", comment_pb2.CommentState, value, "COMMENT_STATE_")) if value else None


def run_state(value: int) -> RunState | None:
    """A state, or None when not said."""
    return RunState(_enum("state", run_pb2.RunState, value, "RUN_STATE_")) if value else None


#: A table, as it is asked for every line of every console.
_LOG_STREAMS: dict[int, LogStream] = {
    run_pb2.LOG_STREAM_UNSPECIFIED: LogStream.STDOUT,
    run_pb2.LOG_STREAM_STDOUT: LogStream.STDOUT,
    run_pb2.LOG_STREAM_STDERR: LogStream.STDERR,
    run_pb2.LOG_STREAM_EVENT: LogStream.EVENT,
}


def log_stream(value: int) -> LogStream:
    """Where a line came out; standard output when not said."""
    stream = _LOG_STREAMS.get(value)
    if stream is None:
        raise InvalidArgument("lines.stream", f"{value} is no value of it")
    return stream


def _enum(where: str, enum: Any, value: int, prefix: str) -> str:  # noqa: ANN401 - a protobuf enum wrapper
    if value not in enum.values() or value == 0:
        raise InvalidArgument(where, f"{value} is no value of it")
    return str(enum.Name(value)).removeprefix(prefix)


_DAYS_MAX = 36_500
_APPROVALS_MAX = 10


def policy_rules(rules: project_pb2.Policy) -> dict[str, Any]:
    """The rules of a policy, checked; by the names of ``Policy``."""
    if not 0 <= rules.min_approvals <= _APPROVALS_MAX:
        raise InvalidArgument("policy.min_approvals", f"from 0 to {_APPROVALS_MAX}")
    if not 0 <= rules.log_retention_days <= _DAYS_MAX:
        raise InvalidArgument("policy.log_retention_days", f"from 0 to {_DAYS_MAX}")
    access = AgentAccess.SUGGEST_ONLY
    if rules.agent_access:
        access = AgentAccess(_enum("policy.agent_access", project_pb2.AgentAccess, rules.agent_access, "AGENT_ACCESS_"))
    return {
        "agent_access": access,
        "require_reason": rules.require_reason,
        "require_evidence": rules.require_evidence,
        "min_approvals": rules.min_approvals,
        "viewers_may_comment": rules.viewers_may_comment,
        "log_retention_days": rules.log_retention_days,
    }


def policy(rules: project_pb2.Policy) -> Policy:
    """A policy, checked."""
    return Policy(**policy_rules(rules))


_SHA256 = re.compile(r"[0-9a-f]{64}")


def sha256(text: str, where: str) -> str:
    """A hash in lower-case hex."""
    if not _SHA256.fullmatch(text):
        raise InvalidArgument(where, "a SHA-256 has 64 lower-case hex digits")
    return text
