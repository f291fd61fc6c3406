"""Who may do what: every RPC, by role, kind of principal and the project's policy towards agents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from coreason.foundry.v1 import lock_pb2, project_pb2, session_pb2
from tests.service.forms import forms
from tests.service.house import CALLS, Caller, House
from tests.service.refusals import Refused, refused

pytestmark = pytest.mark.asyncio(loop_scope="module")

VIEWER, EDITOR, OWNER, AUDITOR = "VIEWER", "EDITOR", "OWNER", "AUDITOR"
ROLES: Final = (VIEWER, EDITOR, OWNER, AUDITOR)
KINDS: Final = ("human", "agent", "service")
PERMISSION: Final = {"PROJECT_ACCESS_DENIED", "ROLE_TOO_LOW", "AGENT_ACCESS_DENIED", "HUMAN_REQUIRED"}


@dataclass(frozen=True)
class Rule:
    """Who may.

    Attributes:
        words: The action as refusals name it.
        roles: Roles that may.
        human: Whether it is for people only.
        reads: Whether agents may do it where policy lets them read only.
    """

    words: str
    roles: tuple[str, ...]
    human: bool = False
    reads: bool = False

    @property
    def least(self) -> str:
        """The role that a refusal names."""
        return self.roles[0]


READ = Rule("read", ROLES, reads=True)
EDIT = Rule("edit", (EDITOR, OWNER))
MANAGE = Rule("manage the project", (OWNER,))
SET_MEMBERS = Rule("change members", (OWNER,), human=True)
SET_POLICY = Rule("change the policy", (OWNER,), human=True)
BREAK = Rule("break a lock", (EDITOR, OWNER), human=True)
COMMENT = Rule("comment", (EDITOR, OWNER), reads=True)
RUN = Rule("run", (EDITOR, OWNER))
FREEZE = Rule("freeze", (OWNER,), human=True)
REVISE = Rule("start a revision", (EDITOR, OWNER))
END_OF_ANOTHER = Rule("end another's session", (OWNER,), human=True)

#: As the contract says at each RPC; None: no project is asked for.
RULES: Final[dict[str, Rule | None]] = {
    "CreateProject": None,
    "ListProjects": None,
    "GetProject": READ,
    "ListMembers": READ,
    "GetDraft": READ,
    "ListDrafts": READ,
    "CompareDrafts": READ,
    "GetLock": READ,
    "ListLocks": READ,
    "ListSessions": READ,
    "ListEntries": READ,
    # Of a session of one's own, which nobody else has: they are refused by that.
    "RenewLock": READ,
    "ReleaseLock": READ,
    "CreateDraft": EDIT,
    "RevertDraft": EDIT,
    "AcquireLock": EDIT,
    "UpdateProject": MANAGE,
    "UpdateProject of the policy": SET_POLICY,
    "ArchiveProject": MANAGE,
    "UnarchiveProject": MANAGE,
    "SetMember": SET_MEMBERS,
    "RemoveMember": SET_MEMBERS,
    "BreakLock": BREAK,
    "EndSession": END_OF_ANOTHER,
    "GetComment": READ,
    "ListComments": READ,
    # A comment or a run that is not there tells of nothing but the role; see test_comment_rights.py.
    "CreateComment": COMMENT,
    "UpdateComment": COMMENT,
    "DeleteComment": COMMENT,
    "ResolveComment": COMMENT,
    "ReopenComment": COMMENT,
    "GetRun": READ,
    "ListRuns": READ,
    "ReadRunLog": READ,
    "StartRun": RUN,
    "AppendRunLog": RUN,
    "FinishRun": RUN,
    "CancelRun": RUN,
    "ExportForAssay": READ,
    "GetFreeze": READ,
    "ExportForPublisher": READ,
    "RequestFreeze": FREEZE,
    "StartRevision": REVISE,
}


def expected(rule: Rule, role: str, kind: str, access: str) -> tuple[str, dict[str, str]] | None:
    """Reason and metadata of the refusal, or None when the call is allowed."""
    if not role:
        return "PROJECT_ACCESS_DENIED", {}
    if kind == "agent" and (access == "DENY" or (access == "SUGGEST_ONLY" and not rule.reads)):
        return "AGENT_ACCESS_DENIED", {"agent_access": access}
    if role not in rule.roles:
        return "ROLE_TOO_LOW", {"role": role, "required_role": rule.least}
    if rule.human and kind != "human":
        return "HUMAN_REQUIRED", {"action": rule.words, "kind": kind.upper()}
    return None


def _requests(project_id: str, session_id: str) -> dict[str, Message]:
    requests = forms(project_id, session_id=session_id)
    requests["UpdateProject of the policy"] = project_pb2.UpdateProjectRequest(
        project_id=project_id, update_mask=FieldMask(paths=["policy.require_evidence"])
    )
    return requests


async def _outcome(caller: Caller, request: Message) -> Refused | None:
    try:
        await caller.call(request)
    except Refused as refusal:
        return refusal
    return None


async def test_there_is_a_rule_for_every_rpc() -> None:
    assert {name.partition(" ")[0] for name in RULES} == {method.name for method in CALLS}


@pytest.mark.parametrize(
    ("kind", "access"),
    # What agents may do concerns nobody else: DENY shows it.
    [("human", "DENY"), ("service", "DENY"), ("agent", "DENY"), ("agent", "SUGGEST_ONLY"), ("agent", "EDIT")],
)
@pytest.mark.parametrize("role", ["", *ROLES])
async def test_role_kind_and_policy_decide_every_rpc(house: House, role: str, kind: str, access: str) -> None:
    """What they forbid is refused and changes nothing; what they allow is not refused as forbidden."""
    policy = project_pb2.Policy(agent_access=project_pb2.AgentAccess.Value(f"AGENT_ACCESS_{access}"))
    members = {"somebody": project_pb2.Role.Value(f"ROLE_{role}")} if role else {}
    project_id = await house.project(policy, mia=project_pb2.ROLE_VIEWER, **members)
    await house.olga.save(project_id, notes="v1")
    somebody = house.caller("somebody", kind=kind)
    denied = {name: rule and expected(rule, role, kind, access) for name, rule in RULES.items()}
    async with house.olga.session(project_id) as session:
        requests = _requests(project_id, session.session_id)
        async with house.unchanged(project_id):
            for name, refusal in denied.items():
                if refusal:
                    outcome = await _outcome(somebody, requests[name])
                    assert outcome is not None, name
                    assert (outcome.reason, outcome.metadata) == (refusal[0], outcome.metadata | refusal[1]), name
        for name, refusal in denied.items():
            if not refusal:
                outcome = await _outcome(somebody, requests[name])
                assert outcome is None or outcome.reason not in PERMISSION, name


async def test_a_human_editor_breaks_an_agents_lock_and_nobody_elses(house: House) -> None:
    """An OWNER breaks anyone's, an agent nobody's (the table above). The holder's kind decides for an EDITOR."""
    policy = project_pb2.Policy(agent_access=project_pb2.AGENT_ACCESS_EDIT)
    editors = dict.fromkeys(("bob", "carol", "robot", "batch"), project_pb2.ROLE_EDITOR)
    project_id = await house.project(policy, **editors)
    bob = house.caller("bob")
    holders = {"human": house.caller("carol"), "service": house.caller("batch", kind="service")}
    for holder in holders.values():
        async with holder.session(project_id) as session:
            lock = await session.acquire("notes")
            request = lock_pb2.BreakLockRequest(
                project_id=project_id, field="notes", fencing_token=lock.fencing_token, reason="lunch"
            )
            async with house.unchanged(project_id):
                await refused(bob.call(request), "ROLE_TOO_LOW", role="EDITOR", required_role="OWNER")
            broken = (await house.olga.call(request)).lock
            assert broken.lock_id == lock.acquired.lock.lock_id
    robot = house.caller("robot", kind="agent", on_behalf_of="carol")
    async with robot.session(project_id) as session:
        lock = await session.acquire("notes")
        request = lock_pb2.BreakLockRequest(
            project_id=project_id, field="notes", fencing_token=lock.fencing_token, reason="it loops"
        )
        broken = (await bob.call(request)).lock
    assert (broken.holder.subject, broken.holder.on_behalf_of) == ("robot", "carol")


@pytest.mark.parametrize("kind", KINDS)
async def test_everybody_ends_their_own_session(house: House, kind: str) -> None:
    """Whatever their role: it is theirs."""
    project_id = await house.project(somebody=project_pb2.ROLE_VIEWER)
    somebody = house.caller("somebody", kind=kind)
    async with somebody.session(project_id) as session:
        await somebody.call(session_pb2.EndSessionRequest(project_id=project_id, session_id=session.session_id))
    assert not (await house.olga.call(session_pb2.ListSessionsRequest(project_id=project_id))).sessions


async def test_an_agent_of_the_same_subject_is_somebody_else(house: House) -> None:
    """A session is of one actor: the same subject as another kind, or for another person, cannot use or end it."""
    policy = project_pb2.Policy(agent_access=project_pb2.AGENT_ACCESS_EDIT)
    project_id = await house.project(policy, somebody=project_pb2.ROLE_EDITOR)
    others = [
        house.caller("somebody", kind="service"),
        house.caller("somebody", kind="agent"),
        house.caller("somebody", kind="agent", on_behalf_of="carol"),
    ]
    async with house.caller("somebody").session(project_id) as session:
        lock = await session.acquire("notes")
        requests = forms(project_id, session_id=session.session_id, fencing_token=lock.fencing_token, field="notes")
        for other in others:
            async with house.unchanged(project_id):
                for name in ("AcquireLock", "RenewLock", "ReleaseLock"):
                    await refused(other.call(requests[name]), "SESSION_CLOSED", session_id=session.session_id)
                await refused(other.call(requests["EndSession"]), "ROLE_TOO_LOW")
