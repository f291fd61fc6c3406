"""``error_reason.proto`` is kept: every reason with its code, its metadata keys and its details."""

from __future__ import annotations

import inspect

import pytest
from google.rpc import error_details_pb2

from coreason.foundry.v1 import error_reason_pb2
from foundry.domain import errors
from foundry.domain.lock import Lock
from foundry.domain.principal import Principal
from foundry.rpc.errors import CODES, to_status
from tests.service.refusals import detail
from tests.service.samples import samples

_BOB = Principal("bob", display_name="Bob B.")
_LOCK = Lock("l1", "p1", "system_prompt", _BOB, "s1", 8, 0, 0)

#: One refusal of every kind. Their values do not matter, their keys do.
REFUSALS = [
    *(errors.Unauthenticated(reason, "no") for reason in ("TOKEN_MISSING", "TOKEN_INVALID", "TOKEN_EXPIRED")),
    errors.ProjectAccessDenied("p1"),
    errors.RoleTooLow("edit", "VIEWER", "EDITOR"),
    errors.AgentAccessDenied("edit", "SUGGEST_ONLY"),
    errors.HumanRequired("change members", "AGENT"),
    errors.AdministratorRequired("read the instance log"),
    errors.NotYours("comment", "c1", "alice"),
    errors.ResumeRefused("s1"),
    errors.NotFound("draft", "17"),
    errors.InvalidArgument("page_size", "from 0"),
    errors.MalformedMessage("coreason.foundry.v1.CreateDraftRequest"),
    errors.MessageTooLarge(5, 4),
    errors.ContentTooLarge("system_prompt", 5, 4),
    errors.InvalidContent("model_config", "no", 4, 3),
    errors.AnchorOutOfRange("system_prompt", 3, 10, 12, 9),
    errors.PageTokenInvalid(),
    errors.RequestIdReused("r1"),
    errors.ReasonRequired(),
    errors.FieldNameConflict("topology/graph", "topology"),
    errors.LimitExceeded("sessions in a project", 500),
    errors.ProjectArchived("p1"),
    errors.ProjectFrozen("p1", "FROZEN"),
    errors.LastOwner("alice"),
    errors.EtagMismatch("1-4"),
    errors.CommentDeleted("c1"),
    errors.RunFinished("r1", "PASSED"),
    errors.LineNumberMismatch("r1", 1001, 1003),
    errors.ContentMismatch(14, "0" * 64),
    errors.VersionMismatch(14, 16),
    errors.FreezeBlocked([("EVIDENCE_MISSING", "", "no"), ("RUN_RUNNING", "runs/r1", "no")]),
    errors.NotFrozen("p1", "ACTIVE"),
    errors.StaleVersion(14, 16, {"system_prompt": (15, "bob"), "model_config": (16, "carol")}),
    errors.LockHeld([_LOCK]),
    errors.LockRequired("system_prompt"),
    errors.LockLost("system_prompt", 7, _LOCK, 8),
    errors.LockLost("system_prompt", 7, None, 8),
    errors.LockIntervened("system_prompt", 7, 8),
    errors.SessionClosed("s1"),
    errors.FirstMessageNotOpen("heartbeat"),
    errors.AlreadyOpen("s1"),
    *(
        errors.SessionEnded(reason, "no", "s1")
        for reason in ("SESSION_SUPERSEDED", "SESSION_SILENT", "SESSION_ENDED", "SLOW_CONSUMER", "ACCESS_LOST")
    ),
    errors.Unavailable("no"),
    errors.OutcomeUnknown("no"),
    errors.GoingAway(1.0),
    KeyError("secret"),
]


def test_every_reason_of_the_enum_has_a_sample_and_a_code() -> None:
    """No reason is undocumented, none is documented and gone, and each has the code that its comment begins with."""
    enum = error_reason_pb2.ErrorReason.items()
    assert {f"ERROR_REASON_{reason}": sample.number for reason, sample in samples().items()} == {
        name: number for name, number in enum if number
    }
    assert {reason: sample.code for reason, sample in samples().items()} == CODES


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: getattr(error, "reason", "INTERNAL"))
def test_a_refusal_has_the_documented_keys_and_details(error: Exception) -> None:
    """Metadata keys are exactly those of the sample, and the other details those that its comment names."""
    status = to_status(error)
    info = detail(status, error_details_pb2.ErrorInfo)
    sample = samples()[info.reason]
    assert (status.code, info.domain) == (sample.code.value[0], sample.domain)
    assert sample.allows(frozenset(info.metadata))
    carried = {entry.type_url.rpartition(".")[2] for entry in status.details}
    assert carried == {"ErrorInfo", *sample.details}


def test_every_refusal_of_the_family_is_held_against_its_sample() -> None:
    """The list above is complete: every class of refusal and every reason is in it."""
    family = {
        kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.FoundryError)
    } - {errors.FoundryError}
    assert {type(error) for error in REFUSALS} == family | {KeyError}
    assert {getattr(error, "reason", "INTERNAL") for error in REFUSALS} == samples().keys()


def test_a_failure_tells_nothing_but_an_id() -> None:
    """INTERNAL carries no text of the exception that caused it."""
    status = to_status(KeyError("secret"))
    assert b"secret" not in status.SerializeToString()
