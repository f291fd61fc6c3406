"""Who may comment, and whose a comment is: by role, kind and policy, and by having said it."""

from __future__ import annotations

from typing import Any, Final

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from coreason.foundry.v1 import comment_pb2, project_pb2
from tests.service.comments import assign, delete, edit, read, reopen, reply, resolve, say
from tests.service.house import House
from tests.service.refusals import refused

pytestmark = pytest.mark.asyncio(loop_scope="module")

TASK: Final = comment_pb2.COMMENT_KIND_TASK


def _changes(said: comment_pb2.Comment) -> dict[str, Any]:
    """What may be done to a thread of one's own."""
    return {
        "reply": comment_pb2.CreateCommentRequest(
            project_id=said.project_id, text="x", parent_comment_id=said.comment_id
        ),
        "edit": edit(said, "another"),
        "resolve": resolve(said),
        "reopen": reopen(said),
        "delete": delete(said),
    }


# --- roles -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["VIEWER", "AUDITOR"])
async def test_who_only_reads_says_nothing(house: House, role: str) -> None:
    """Neither a word of their own, nor to others' words; nothing changes."""
    project_id = await house.project(vera=project_pb2.Role.Value(f"ROLE_{role}"))
    vera = house.caller("vera")
    said = await say(house.olga, project_id)
    async with house.unchanged(project_id):
        for call in (say(vera, project_id), *(vera.call(request) for request in _changes(said).values())):
            await refused(call, "ROLE_TOO_LOW", role=role, required_role="EDITOR", action="comment")
    assert await read(vera, said) == said


async def test_viewers_comment_where_policy_lets_them(house: House) -> None:
    """Theirs they may change; others' texts are not theirs. An AUDITOR stays an observer."""
    policy = project_pb2.Policy(viewers_may_comment=True)
    members = {"vera": project_pb2.ROLE_VIEWER, "anna": project_pb2.ROLE_AUDITOR}
    project_id = await house.project(policy, **members)
    vera = house.caller("vera")
    for request in _changes(await say(vera, project_id)).values():
        await vera.call(request)
    hers = await say(house.olga, project_id)
    await vera.call(resolve(hers))
    await refused(vera.call(edit(hers, "x")), "NOT_YOURS", owner="olga")
    await refused(vera.call(delete(hers)), "NOT_YOURS", owner="olga")
    await refused(say(house.caller("anna"), project_id), "ROLE_TOO_LOW", role="AUDITOR")


async def test_a_viewer_who_may_no_longer_comment_cannot_change_their_own(house: House) -> None:
    """From the moment the policy changes."""
    project_id = await house.project(project_pb2.Policy(viewers_may_comment=True), vera=project_pb2.ROLE_VIEWER)
    vera = house.caller("vera")
    said = await say(vera, project_id)
    rule = project_pb2.UpdateProjectRequest(
        project_id=project_id, update_mask=FieldMask(paths=["policy.viewers_may_comment"])
    )
    await house.olga.call(rule)
    async with house.unchanged(project_id):
        for request in _changes(said).values():
            await refused(vera.call(request), "ROLE_TOO_LOW", role="VIEWER")


# --- kinds -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("access", ["SUGGEST_ONLY", "EDIT"])
async def test_an_agent_suggests_where_it_may_not_edit(house: House, access: str) -> None:
    """Commenting is how it suggests: all that a person with its role may do to threads, but not what is for people."""
    policy = project_pb2.Policy(agent_access=project_pb2.AgentAccess.Value(f"AGENT_ACCESS_{access}"))
    project_id = await house.project(policy, robot=project_pb2.ROLE_OWNER)
    robot = house.caller("robot", kind="agent", on_behalf_of="olga")
    for request in _changes(await say(robot, project_id)).values():
        await robot.call(request)
    hers = await say(house.olga, project_id)
    async with house.unchanged(project_id):
        await refused(robot.call(delete(hers)), "NOT_YOURS", owner="olga")


async def test_an_agent_that_is_denied_says_nothing(house: House) -> None:
    policy = project_pb2.Policy(agent_access=project_pb2.AGENT_ACCESS_DENY)
    project_id = await house.project(policy, robot=project_pb2.ROLE_OWNER)
    robot = house.caller("robot", kind="agent")
    said = await say(house.olga, project_id)
    async with house.unchanged(project_id):
        for call in (say(robot, project_id), *(robot.call(request) for request in _changes(said).values())):
            await refused(call, "AGENT_ACCESS_DENIED", agent_access="DENY")


# --- authors -----------------------------------------------------------------------------------------------------


async def test_a_text_is_changed_by_its_author_alone(house: House) -> None:
    """Not even by an owner: nobody puts words into another's mouth."""
    project_id = await house.project(bob=project_pb2.ROLE_EDITOR)
    said = await say(house.caller("bob"), project_id)
    async with house.unchanged(project_id):
        about = {"resource_type": "comment", "resource_id": said.comment_id, "owner": "bob"}
        await refused(house.olga.call(edit(said, "x")), "NOT_YOURS", **about)


@pytest.mark.parametrize(
    ("who", "may"),
    [
        ({"subject": "omar"}, True),
        ({"subject": "carol"}, False),
        ({"subject": "robot", "kind": "agent"}, False),
        ({"subject": "batch", "kind": "service"}, False),
    ],
    ids=["an owner", "an editor", "an agent with the role OWNER", "a service with the role OWNER"],
)
async def test_anothers_comment_is_deleted_by_people_who_own_the_project(
    house: House, who: dict[str, str], may: bool
) -> None:
    """The log names its author and who deleted it."""
    roles = dict.fromkeys(("omar", "robot", "batch"), project_pb2.ROLE_OWNER)
    editors = dict.fromkeys(("bob", "carol"), project_pb2.ROLE_EDITOR)
    policy = project_pb2.Policy(agent_access=project_pb2.AGENT_ACCESS_EDIT)
    project_id = await house.project(policy, **roles, **editors)
    said = await reply(house.caller("bob"), await say(house.olga, project_id))
    call = house.caller(**who).call(delete(said))
    if may:
        assert (await call).comment.HasField("delete_time")
    else:
        async with house.unchanged(project_id):
            await refused(call, "NOT_YOURS", resource_id=said.comment_id, owner="bob")


async def test_everybody_who_may_comment_closes_and_opens_threads(house: House) -> None:
    """A thread is everybody's; only its words are somebody's."""
    project_id = await house.project(bob=project_pb2.ROLE_EDITOR)
    said = await say(house.olga, project_id)
    bob = house.caller("bob")
    assert (await bob.call(resolve(said))).comment.closer.subject == "bob"
    await bob.call(reopen(said))


async def test_the_same_subject_of_another_kind_is_another_author(house: House) -> None:
    """An agent in somebody's name does not change what they said, nor they what it said."""
    project_id = await house.project(bob=project_pb2.ROLE_EDITOR)
    bob, agent = house.caller("bob"), house.caller("bob", kind="agent", on_behalf_of="olga")
    his, its = await say(bob, project_id), await say(agent, project_id)
    async with house.unchanged(project_id):
        for who, said in ((bob, its), (agent, his), (house.caller("bob", kind="agent"), its)):
            await refused(who.call(edit(said, "x")), "NOT_YOURS", owner="bob")
            await refused(who.call(delete(said)), "NOT_YOURS", owner="bob")


async def test_whoever_left_is_told_nothing(house: House) -> None:
    """Not whether a comment is theirs, changed or gone."""
    project_id = await house.project(bob=project_pb2.ROLE_EDITOR)
    bob = house.caller("bob")
    said = await say(bob, project_id)
    await house.olga.call(project_pb2.RemoveMemberRequest(project_id=project_id, subject="bob"))
    calls = [read(bob, said), *(bob.call(request) for request in _changes(said).values())]
    for call in calls:
        await refused(call, "PROJECT_ACCESS_DENIED")
    await house.olga.call(delete(said))


async def test_the_role_is_told_before_anything_about_the_comment(house: House) -> None:
    """Who may not comment does not learn by refusals what is there, who said it, or what it is etagged."""
    project_id = await house.project(vera=project_pb2.ROLE_VIEWER)
    vera = house.caller("vera")
    gone = await say(house.olga, project_id)
    await house.olga.call(delete(gone))
    nothing = comment_pb2.Comment(project_id=project_id, comment_id="nothing")
    for said in (gone, nothing):
        for request in (*_changes(said).values(), assign(said, "nobody"), edit(said, "x", etag="x")):
            await refused(vera.call(request), "ROLE_TOO_LOW")
    anchor = comment_pb2.Anchor(version_number=99, field="secret")
    await refused(say(vera, project_id, anchor=anchor), "ROLE_TOO_LOW")
    await refused(say(vera, project_id, kind=TASK, assignee="nobody"), "ROLE_TOO_LOW")
    await refused(say(vera, project_id, run_id="nothing"), "ROLE_TOO_LOW")
