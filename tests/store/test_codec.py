"""Values that are stored as JSON come back as they were."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import foundry.managers
from foundry.domain.draft import SaveResult
from foundry.domain.principal import Principal
from foundry.domain.project import Member, Policy, Project
from foundry.managers.comments import CommentResult
from foundry.managers.exports import FreezeResult
from foundry.managers.locks import ReleaseResult
from foundry.managers.projects import Removed
from foundry.managers.runs import RunAnswer
from foundry.managers.sessions import Ended
from foundry.store.codec import dump_answer, dump_policy, dump_principal, load_answer, load_policy, load_principal

#: Everything that a manager remembers.
ANSWERS = [
    SaveResult,
    ReleaseResult,
    Project,
    Member,
    Ended,
    Removed,
    CommentResult,
    RunAnswer,
    FreezeResult,
]


@pytest.mark.parametrize("kind", ANSWERS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_kept_answer_is_the_answer(kind: type[Any], data: st.DataObject) -> None:
    """A repeated request gets what the first one got, to the last character, whatever the answer holds."""
    answer = data.draw(st.from_type(kind))
    assert load_answer(kind, dump_answer(answer)) == answer


@given(st.builds(Principal), st.builds(Policy))
def test_principals_and_policies_come_back(principal: Principal, policy: Policy) -> None:
    """Each member, also those with a default."""
    assert load_principal(dump_principal(principal)) == principal
    assert load_policy(dump_policy(policy)) == policy


def test_no_kind_of_answer_is_forgotten() -> None:
    """What a manager looks for in the store is one of the kinds above."""
    managers = Path(foundry.managers.__file__).parent
    kinds = {kind for file in managers.glob("*.py") for kind in re.findall(r"\.replay\((\w+)\)", file.read_text())}
    assert kinds == {kind.__name__ for kind in ANSWERS}
