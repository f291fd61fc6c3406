"""The closed family of refusals: every one documented, every value of its sentence also machine-readable."""

from __future__ import annotations

import inspect
import re

import pytest

from coreason.foundry.v1.error_reason_pb2 import ErrorReason
from foundry.domain import errors
from foundry.domain.errors import FoundryError, Violation
from foundry.domain.lock import Lock
from foundry.domain.principal import Principal
from tests.domain.reasons import documented

LOCK = Lock("l", "p", "system_prompt", Principal("alice", display_name="Alice A."), "s", 7, 1, 2)

#: One of each class for each reason it has.
SAMPLES: list[FoundryError] = [
    *(errors.Unauthenticated(reason, "why") for reason in ("TOKEN_MISSING", "TOKEN_INVALID", "TOKEN_EXPIRED")),
    errors.ProjectAccessDenied("p"),
    errors.RoleTooLow("edit", "VIEWER", "EDITOR"),
    errors.AgentAccessDenied("edit", "SUGGEST_ONLY"),
    errors.HumanRequired("change members", "AGENT"),
    errors.AdministratorRequired("read the instance log"),
    errors.ResumeRefused("s"),
    errors.NotYours("comment", "c", "alice"),
    errors.AnchorOutOfRange("system_prompt", 3, 10, 12, 9),
    errors.NotFrozen("p", "ACTIVE"),
    errors.FreezeBlocked([("EVIDENCE_MISSING", "", "policy wants a passed run of this content")]),
    errors.VersionMismatch(14, 16),
    errors.ContentMismatch(14, "6d1f"),
    errors.CommentDeleted("c"),
    errors.RunFinished("r", "PASSED"),
    errors.LineNumberMismatch("r", 1001, 1003),
    errors.NotFound("draft", "17"),
    errors.InvalidArgument("page_size", "at most 1000", more=[Violation("x", "y")]),
    errors.MalformedMessage("coreason.foundry.v1.CreateDraftRequest"),
    errors.MessageTooLarge(5_242_880, 4_194_304),
    errors.ContentTooLarge("system_prompt", 1_048_577, 1_048_576),
    errors.InvalidContent("model_config", "the key is given twice", 4, 3),
    errors.PageTokenInvalid(),
    errors.RequestIdReused("4f2c1d0e-0000-4000-8000-000000000003"),
    errors.ReasonRequired(),
    errors.FieldNameConflict("topology/graph", "topology"),
    errors.LimitExceeded("sessions in a project", 500),
    errors.ProjectArchived("p"),
    errors.ProjectFrozen("p", "FROZEN"),
    errors.LastOwner("alice"),
    errors.EtagMismatch("000000000001-4"),
    errors.StaleVersion(14, 16, {"system_prompt": (15, "bob")}),
    errors.LockHeld([LOCK]),
    errors.LockRequired("system_prompt"),
    errors.LockLost("system_prompt", 7, LOCK, 8),
    errors.LockIntervened("system_prompt", 7, 8),
    errors.SessionClosed("s"),
    errors.FirstMessageNotOpen("heartbeat"),
    errors.AlreadyOpen("s"),
    *(
        errors.SessionEnded(reason, "why", "s")
        for reason in ("SESSION_SUPERSEDED", "SESSION_SILENT", "SESSION_ENDED", "SLOW_CONSUMER", "ACCESS_LOST")
    ),
    errors.OutcomeUnknown("the store could not commit"),
    errors.Unavailable("the store takes no writes now"),
    errors.GoingAway(2.0),
]


def test_the_samples_are_complete() -> None:
    """Every class of the family, and every reason of the contract but INTERNAL, which nobody raises by name."""
    classes = {found for _, found in inspect.getmembers(errors, inspect.isclass) if issubclass(found, FoundryError)}
    assert {type(sample) for sample in SAMPLES} == classes - {FoundryError}
    assert {sample.reason for sample in SAMPLES} | {"INTERNAL"} == documented().keys()


def test_the_parsed_documentation_is_the_compiled_enum() -> None:
    """The comments belong to the reasons that are in force."""
    compiled = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()}  # noqa: SIM118 - no mapping
    assert documented().keys() == compiled - {"UNSPECIFIED"}


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: error.reason)
def test_details_are_as_documented(error: FoundryError) -> None:
    """The sample in the contract has the reason, the domain, and exactly the keys that the error really carries."""
    sample = documented()[error.reason].sample
    assert (sample["reason"], sample["domain"]) == (error.reason, "foundry.coreason.ai")
    assert sample.get("metadata", {}).keys() == error.details.keys()


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: error.reason)
def test_details_are_strings(error: FoundryError) -> None:
    """Metadata is a map of strings: numbers in decimal, truth in lower case."""
    assert {type(value) for value in error.details.values()} <= {str}
    assert not {"True", "False", "None"} & set(error.details.values())


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: error.reason)
def test_every_number_of_the_sentence_is_a_detail(error: FoundryError) -> None:
    """No client has to parse a sentence: the values in it stand beside it."""
    values = " ".join([*error.details, *error.details.values()])
    if isinstance(error, errors.InvalidArgument):
        values += " ".join(violation.description for violation in error.violations)
    numbers = re.findall(r"\d+", error.message.replace("UTF-8", ""))
    assert [number for number in numbers if number not in values] == []
    assert str(error) == error.message


def test_a_lock_that_is_free_again_has_no_holder() -> None:
    """LOCK_LOST without a holder leaves the holder's keys out instead of giving empty ones."""
    lost = errors.LockLost("f", 7, None, 8)
    assert lost.details == {"field": "f", "fencing_token": "7", "current_fencing_token": "8"}


def test_every_holder_is_named() -> None:
    """A write that needs several locks hears of all who hold them, and whether it is the caller's own other tab."""
    other = Lock("m", "p", "topology", Principal("bob"), "t", 2, 1, 2)
    held = errors.LockHeld([LOCK, other], same_principal=True)
    assert held.message == "system_prompt is being edited by Alice A.; topology is being edited by bob"
    assert (held.locks, held.details["same_principal"]) == ((LOCK, other), "true")
