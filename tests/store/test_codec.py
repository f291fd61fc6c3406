"""Values that are stored as JSON come back as they were."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foundry.domain.draft import SaveResult
from foundry.domain.principal import Principal
from foundry.domain.project import Member, Policy, Project
from foundry.managers.locks import ReleaseResult
from foundry.managers.projects import Removed
from foundry.managers.sessions import Ended
from foundry.store.codec import dump_answer, dump_policy, dump_principal, load_answer, load_policy, load_principal


@pytest.mark.parametrize("kind", [SaveResult, ReleaseResult, Project, Member, Ended, Removed])
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
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
