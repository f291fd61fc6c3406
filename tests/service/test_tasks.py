"""Tasks: comments that somebody is to do; together they are the project's checklist."""

from __future__ import annotations

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from coreason.foundry.v1 import audit_pb2, comment_pb2, project_pb2
from tests.service.comments import about, anchor, assign, delete, listed, read, reopen, reply, resolve, say, told
from tests.service.house import House
from tests.service.refusals import blamed, refused
from tests.service.saves import sha256

pytestmark = pytest.mark.asyncio(loop_scope="module")

TASK, NOTE = comment_pb2.COMMENT_KIND_TASK, comment_pb2.COMMENT_KIND_NOTE
OPEN, DONE = comment_pb2.COMMENT_STATE_OPEN, comment_pb2.COMMENT_STATE_DONE
EDITORS = dict.fromkeys(("bob", "carol"), project_pb2.ROLE_EDITOR)


async def test_a_task_is_done_and_undone(house: House) -> None:
    """DONE is to a task what RESOLVED is to a note; who did it, and at which version, stays with it."""
    project_id = await house.project(**EDITORS)
    await house.olga.save(project_id, notes="one\ntwo\n")
    task = await say(house.olga, project_id, "Check line 2", kind=TASK, assignee="bob", anchor=anchor((2, 2)))
    assert (task.kind, task.state, task.assignee) == (TASK, OPEN, "bob")
    done = (await house.caller("bob").call(resolve(task))).comment
    assert (done.state, done.closer.subject, done.closed_at_version) == (DONE, "bob", 1)
    async with house.unchanged(project_id):
        assert (await house.olga.call(resolve(task))).comment == done
    assert (await house.olga.call(reopen(task))).comment.state == OPEN
    states = [entry.comment_state_changed for entry in await told(house, project_id)][1:]
    assert [(state.before, state.after) for state in states] == [(OPEN, DONE), (DONE, OPEN)]


async def test_a_task_may_be_nobodys(house: House) -> None:
    project_id = await house.project()
    assert (await say(house.olga, project_id, kind=TASK)).assignee == ""


async def test_a_task_is_given_to_a_member(house: House) -> None:
    """To whoever is one now: of any role, but nobody else, and nobody who was one."""
    project_id = await house.project(vera=project_pb2.ROLE_VIEWER, anna=project_pb2.ROLE_AUDITOR, **EDITORS)
    await house.olga.call(project_pb2.RemoveMemberRequest(project_id=project_id, subject="carol"))
    for subject in ("olga", "vera", "anna"):
        assert (await say(house.olga, project_id, kind=TASK, assignee=subject)).assignee == subject
    task = await say(house.olga, project_id, kind=TASK)
    async with house.unchanged(project_id):
        for subject in ("carol", "eve", "system"):
            unknown = {"resource_type": "member", "resource_id": subject}
            await refused(say(house.olga, project_id, kind=TASK, assignee=subject), "RESOURCE_NOT_FOUND", **unknown)
            await refused(house.olga.call(assign(task, subject)), "RESOURCE_NOT_FOUND", **unknown)


async def test_only_tasks_have_an_assignee(house: House) -> None:
    project_id = await house.project(**EDITORS)
    note = await say(house.olga, project_id)
    answer = await reply(house.olga, await say(house.olga, project_id, kind=TASK))
    async with house.unchanged(project_id):
        await blamed(say(house.olga, project_id, assignee="bob"), "assignee")
        await blamed(say(house.olga, project_id, kind=NOTE, assignee="bob"), "assignee")
        for other in (note, answer):
            await blamed(house.olga.call(assign(other, "bob")), "assignee")
            assert (await house.olga.call(assign(other, ""))).comment.assignee == ""


async def test_a_task_is_handed_on_by_everybody_who_may_comment(house: House) -> None:
    """Not only by its author or its assignee; the text stays its author's."""
    project_id = await house.project(**EDITORS)
    task = await say(house.olga, project_id, kind=TASK, assignee="bob")
    carol = house.caller("carol")
    handed = (await carol.call(assign(task, "carol"))).comment
    assert (handed.assignee, handed.text, handed.author) == ("carol", task.text, task.author)
    assert handed.etag != task.etag
    assert not handed.HasField("edit_time")
    async with house.unchanged(project_id):
        assert (await house.olga.call(assign(task, "carol"))).comment == handed
    assert (await carol.call(assign(task, ""))).comment.assignee == ""
    both = comment_pb2.UpdateCommentRequest(
        **about(task, text="mine", assignee="bob"), update_mask=FieldMask(paths=["text", "assignee"])
    )
    async with house.unchanged(project_id):
        await refused(carol.call(both), "NOT_YOURS", owner="olga")
    changed = (await house.olga.call(both)).comment
    assert (changed.text, changed.assignee) == ("mine", "bob")
    updates = [entry.comment_updated for entry in await told(house, project_id) if entry.HasField("comment_updated")]
    same = {"comment_id": task.comment_id, "text_sha256": sha256(task.text)}
    assert updates == [
        audit_pb2.CommentUpdated(**same, changed=["assignee"], assignee="carol"),
        audit_pb2.CommentUpdated(**same, changed=["assignee"]),
        audit_pb2.CommentUpdated(
            comment_id=task.comment_id, changed=["assignee", "text"], assignee="bob", text_sha256=sha256("mine")
        ),
    ]


async def test_the_mask_names_what_is_changed(house: House) -> None:
    """What the request says of the rest is not read: neither too long a text nor an unknown subject."""
    project_id = await house.project(**EDITORS)
    task = await say(house.olga, project_id, kind=TASK, assignee="bob")
    noise = about(task, text="x" * 100_000, assignee="carol")
    mask = FieldMask(paths=["assignee", "assignee"])
    changed = (await house.olga.call(comment_pb2.UpdateCommentRequest(**noise, update_mask=mask))).comment
    assert (changed.text, changed.assignee) == (task.text, "carol")
    noise = about(task, text="mine", assignee="eve")
    mask = FieldMask(paths=["text"])
    changed = (await house.olga.call(comment_pb2.UpdateCommentRequest(**noise, update_mask=mask))).comment
    assert (changed.text, changed.assignee) == ("mine", "carol")


async def test_a_task_outlives_the_membership_of_its_assignee(house: House) -> None:
    """It is still theirs to read; it can be changed, and handed on."""
    project_id = await house.project(**EDITORS)
    task = await say(house.olga, project_id, kind=TASK, assignee="bob")
    await house.olga.call(project_pb2.RemoveMemberRequest(project_id=project_id, subject="bob"))
    assert await read(house.olga, task) == task
    await house.olga.call(resolve(task))
    await house.olga.call(assign(task, "carol"))


async def test_the_checklist_is_the_list_of_tasks(house: House) -> None:
    """By state and by assignee; replies are not among them, and tombstones are neither open nor done."""
    project_id = await house.project(**EDITORS)
    bobs = [await say(house.olga, project_id, f"{n}", kind=TASK, assignee="bob") for n in range(3)]
    hers = await say(house.olga, project_id, "hers", kind=TASK, assignee="carol")
    note = await say(house.olga, project_id, "a note")
    await reply(house.olga, bobs[0])
    await house.olga.call(resolve(bobs[1]))
    await house.olga.call(resolve(note))
    await house.olga.call(delete(bobs[2]))

    async def ids(**filters: object) -> list[str]:
        return [found.comment_id for found in await listed(house.olga, project_id, **filters)]

    assert await ids(kind=TASK) == [task.comment_id for task in (*bobs, hers)]
    assert await ids(assignee="bob") == [task.comment_id for task in bobs]
    assert await ids(kind=TASK, state=OPEN) == [bobs[0].comment_id, hers.comment_id]
    assert await ids(assignee="bob", state=DONE) == [bobs[1].comment_id]
    assert await ids(state=comment_pb2.COMMENT_STATE_RESOLVED) == [note.comment_id]
    assert await ids(assignee="eve") == []
    assert await ids(kind=NOTE, assignee="bob") == []
