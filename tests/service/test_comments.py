"""Comments: said once, in threads of one level, changed by their authors, and deleted without leaving a hole."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any, Final

import pytest

from coreason.foundry.v1 import audit_pb2, comment_pb2, project_pb2, types_pb2
from tests.service.comments import anchor, delete, edit, listed, read, reopen, reply, resolve, say, told
from tests.service.house import House
from tests.service.refusals import Refused, blamed, refused
from tests.service.saves import sha256

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOTE, TASK = comment_pb2.COMMENT_KIND_NOTE, comment_pb2.COMMENT_KIND_TASK
OPEN, RESOLVED = comment_pb2.COMMENT_STATE_OPEN, comment_pb2.COMMENT_STATE_RESOLVED


async def _project(house: House) -> str:
    project_id = await house.project(bob=project_pb2.ROLE_EDITOR)
    await house.olga.save(project_id, notes="one\ntwo\nthree\n")
    return project_id


# --- said --------------------------------------------------------------------------------------------------------


async def test_a_comment_says_who_said_what_about_which_lines(house: House) -> None:
    """And is read as it was answered, by everybody who may read the project."""
    project_id = await _project(house)
    draft_id = (await house.olga.call(project_pb2.GetProjectRequest(project_id=project_id))).project.current_draft_id
    said = await say(house.olga, project_id, " Why \u00fcber\0two?\n", anchor=anchor((2, 3)))
    at = anchor((2, 3), quote="two\nthree", draft_id=draft_id, field_sha256=sha256("one\ntwo\nthree\n"))
    at.version_number = 1
    place = comment_pb2.ResolvedAnchor(version_number=1, state=comment_pb2.ANCHOR_STATE_EXACT, start_line=2, end_line=3)
    assert said == comment_pb2.Comment(
        comment_id=said.comment_id,
        project_id=project_id,
        kind=NOTE,
        state=OPEN,
        anchor=at,
        text=" Why \u00fcber\0two?\n",
        author=types_pb2.Principal(subject="olga", kind=types_pb2.PRINCIPAL_KIND_HUMAN, display_name="Olga O."),
        create_time=said.create_time,
        update_time=said.create_time,
        etag=said.etag,
        resolved_anchor=place,
    )
    assert uuid.UUID(said.comment_id).version == 7
    assert said.etag
    assert await read(house.caller("bob"), said) == said
    assert await listed(house.caller("bob"), project_id) == [said]


async def test_a_comment_may_be_about_the_whole_project(house: House) -> None:
    """Also before anything was saved."""
    project_id = await house.project()
    said = await say(house.olga, project_id, "Where do we begin?")
    assert not said.HasField("anchor")
    assert not said.HasField("resolved_anchor")


async def test_an_agent_speaks_in_its_own_name(house: House) -> None:
    """With whom it speaks for beside it."""
    project_id = await house.project(robot=project_pb2.ROLE_EDITOR)
    said = await say(house.caller("robot", kind="agent", on_behalf_of="olga"), project_id)
    assert (said.author.subject, said.author.on_behalf_of) == ("robot", "olga")
    assert said.author.kind == types_pb2.PRINCIPAL_KIND_AGENT


# --- replies -----------------------------------------------------------------------------------------------------


async def test_replies_form_one_flat_thread(house: House) -> None:
    """A reply to a reply joins the thread of it; replies are notes without state and place."""
    project_id = await _project(house)
    first = await say(house.olga, project_id, anchor=anchor((1, 1)))
    second = await reply(house.caller("bob"), first)
    third = await reply(house.olga, second)
    for later in (second, third):
        assert (later.parent_comment_id, later.kind) == (first.comment_id, NOTE)
        assert later.state == comment_pb2.COMMENT_STATE_UNSPECIFIED
        assert not later.HasField("anchor")
    assert await listed(house.olga, project_id, thread_id=first.comment_id) == [first, second, third]
    assert await listed(house.olga, project_id, thread_id=second.comment_id) == []


async def test_a_reply_has_no_shape_of_its_own(house: House) -> None:
    project_id = await _project(house)
    first = await say(house.olga, project_id)
    wrong: dict[str, dict[str, Any]] = {
        "kind": {"kind": TASK},
        "anchor": {"anchor": anchor()},
        "assignee": {"assignee": "olga"},
    }
    async with house.unchanged(project_id):
        for field, fields in wrong.items():
            await blamed(say(house.olga, project_id, parent_comment_id=first.comment_id, **fields), field)


async def test_a_deleted_thread_takes_no_replies_and_a_deleted_reply_hinders_none(house: House) -> None:
    """The first comment is the thread. What was replied stays."""
    project_id = await _project(house)
    first = await say(house.olga, project_id)
    second = await reply(house.olga, first)
    third = await reply(house.olga, second)
    await house.olga.call(delete(second))
    fourth = await reply(house.olga, second)
    assert fourth.parent_comment_id == first.comment_id
    await house.olga.call(delete(first))
    async with house.unchanged(project_id):
        for to in (first, second, third):
            await refused(reply(house.olga, to), "COMMENT_DELETED", comment_id=first.comment_id)
    assert [found.text for found in await listed(house.olga, project_id)] == ["", "", third.text, fourth.text]


async def test_a_resolved_thread_takes_replies_and_stays_resolved(house: House) -> None:
    project_id = await _project(house)
    first = await say(house.olga, project_id)
    await house.olga.call(resolve(first))
    await reply(house.caller("bob"), first)
    assert (await read(house.olga, first)).state == RESOLVED


# --- changed -----------------------------------------------------------------------------------------------------


async def test_a_text_is_changed_and_its_earlier_ones_stay_in_the_store(house: House) -> None:
    """The anchor and the time of its making never change; the etag does."""
    project_id = await _project(house)
    said = await say(house.olga, project_id, "First thought", anchor=anchor((1, 1)))
    changed = (await house.olga.call(edit(said, "Second thought"))).comment
    expected = comment_pb2.Comment()
    expected.CopyFrom(said)
    expected.text, expected.etag = "Second thought", changed.etag
    expected.update_time.CopyFrom(changed.update_time)
    expected.edit_time.CopyFrom(changed.update_time)
    assert changed == expected
    assert changed.etag != said.etag
    assert changed.update_time.ToNanoseconds() > said.create_time.ToNanoseconds()
    assert await read(house.olga, said) == changed
    kept = house.execute(
        "SELECT revision, text FROM comment_text WHERE project_id = ? ORDER BY revision", (project_id,)
    )
    assert kept == [(1, "First thought"), (2, "Second thought")]


async def test_what_is_the_same_changes_nothing(house: House) -> None:
    """Neither time nor etag; the answer has the position of the head."""
    project_id = await _project(house)
    said = await say(house.olga, project_id)
    async with house.unchanged(project_id):
        answer = await house.olga.call(edit(said, said.text))
        assert answer.comment == said
    assert answer.position == (await told(house, project_id))[-1].position


async def test_an_etag_lets_nobody_overwrite_what_they_have_not_seen(house: House) -> None:
    """For every change of a comment; without one the last word counts."""
    project_id = await _project(house)
    said = await say(house.olga, project_id)
    changed = (await house.olga.call(edit(said, "Second thought", etag=said.etag))).comment
    async with house.unchanged(project_id):
        for request in (
            edit(said, "Third thought", etag=said.etag),
            resolve(said, etag=said.etag),
            reopen(said, etag=said.etag),
            delete(said, etag=said.etag),
        ):
            await refused(house.olga.call(request), "ETAG_MISMATCH", current_etag=changed.etag)
    resolved = (await house.olga.call(resolve(said, etag=changed.etag))).comment
    assert len({said.etag, changed.etag, resolved.etag}) == 3
    await house.olga.call(delete(said, etag=resolved.etag))


async def test_of_two_who_saw_the_same_one_changes_it(house: House) -> None:
    """At the same time, with the etag both read."""
    project_id = await _project(house)
    said = await say(house.olga, project_id)
    calls = [house.olga.call(edit(said, f"Thought {number}", etag=said.etag)) for number in range(8)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    done = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    refusals = [outcome.reason for outcome in outcomes if isinstance(outcome, Refused)]
    assert (len(done), refusals) == (1, ["ETAG_MISMATCH"] * 7)
    assert (await read(house.olga, said)).text == done[0].comment.text


# --- deleted -----------------------------------------------------------------------------------------------------

SECRET: Final = "The patient is Erika Mustermann."


async def test_a_deleted_comment_is_a_tombstone_in_its_place(house: House) -> None:
    """Without text, wherever it is answered; who said it, where and when stays."""
    project_id = await _project(house)
    said = await say(house.olga, project_id, SECRET, anchor=anchor((1, 1)))
    answer = await house.olga.call(delete(said))
    expected = comment_pb2.Comment()
    expected.CopyFrom(said)
    expected.text, expected.etag = "", answer.comment.etag
    expected.update_time.CopyFrom(answer.comment.update_time)
    expected.delete_time.CopyFrom(answer.comment.update_time)
    assert answer.comment == expected
    assert answer.comment.etag != said.etag
    assert await read(house.olga, said) == expected
    assert await listed(house.olga, project_id) == [expected]
    async with house.unchanged(project_id):
        again = await house.olga.call(delete(said))
        assert (again.comment, again.position) == (answer.comment, answer.position)
        await refused(house.olga.call(edit(said, "x")), "COMMENT_DELETED", comment_id=said.comment_id)
        await refused(house.olga.call(resolve(said)), "COMMENT_DELETED", comment_id=said.comment_id)
        await refused(house.olga.call(reopen(said)), "COMMENT_DELETED", comment_id=said.comment_id)
    kept = house.execute("SELECT text FROM comment_text WHERE comment_id = ?", (said.comment_id,))
    assert kept == [(SECRET,)]


async def test_a_deleted_text_is_in_no_answer_and_on_no_stream(house: House) -> None:
    """Not in lists, whatever is filtered; not in the log; not in a refusal."""
    project_id = await _project(house)
    said = await say(house.olga, project_id, "First thought", anchor=anchor((1, 1)))
    await house.olga.call(edit(said, SECRET))
    await house.olga.call(delete(said))
    about: dict[str, Any] = {"project_id": project_id}
    requests = [
        comment_pb2.GetCommentRequest(**about, comment_id=said.comment_id),
        comment_pb2.ListCommentsRequest(**about),
        comment_pb2.ListCommentsRequest(**about, author="olga", field="notes"),
        audit_pb2.ListEntriesRequest(**about, page_size=1000),
    ]
    for request in requests:
        answer = (await house.olga.call(request)).SerializeToString()
        assert SECRET.encode() not in answer
        assert b"First thought" not in answer
    refusal = await refused(house.olga.call(edit(said, "x")), "COMMENT_DELETED")
    assert SECRET.encode() not in refusal.raw


async def test_the_database_itself_keeps_what_was_said(house: House) -> None:
    """Whoever reaches past the server can neither rewrite nor remove a comment, a text, or an anchor."""
    project_id = await _project(house)
    said = await say(house.olga, project_id, anchor=anchor((1, 1)))
    statements = (
        "UPDATE comment_text SET text = 'x' WHERE comment_id = ?",
        "DELETE FROM comment_text WHERE comment_id = ?",
        "DELETE FROM comment WHERE comment_id = ?",
        "UPDATE comment SET author_subject = 'eve', revision = revision + 1 WHERE comment_id = ?",
        "UPDATE comment SET start_line = 2, revision = revision + 1 WHERE comment_id = ?",
        "UPDATE comment SET state = 'RESOLVED' WHERE comment_id = ?",
    )
    for statement in statements:
        house.guards_refuse(statement, (said.comment_id,))
    await house.olga.call(delete(said))
    house.guards_refuse(
        "UPDATE comment SET delete_time_us = 0, revision = revision + 1 WHERE comment_id = ?", (said.comment_id,)
    )


# --- resolved ----------------------------------------------------------------------------------------------------


async def test_a_thread_is_resolved_and_opened_again(house: House) -> None:
    """It names who closed it, and the newest version then; twice changes nothing."""
    project_id = await _project(house)
    said = await say(house.olga, project_id)
    await house.olga.save(project_id, 1, notes="other\n")
    bob = house.caller("bob", name="Bob B.")
    answer = await bob.call(resolve(said))
    closed = answer.comment
    assert (closed.state, closed.closed_at_version) == (RESOLVED, 2)
    assert (closed.closer.subject, closed.closer.display_name) == ("bob", "Bob B.")
    async with house.unchanged(project_id):
        again = await house.olga.call(resolve(said))
        assert (again.comment, again.position) == (closed, answer.position)
    opened = (await house.olga.call(reopen(said))).comment
    assert (opened.state, opened.closed_at_version, opened.HasField("closer")) == (OPEN, 0, False)
    async with house.unchanged(project_id):
        assert (await bob.call(reopen(said))).comment == opened
    assert len({said.etag, closed.etag, opened.etag}) == 3
    assert not opened.HasField("edit_time")


async def test_only_the_first_of_a_thread_is_resolved(house: House) -> None:
    project_id = await _project(house)
    second = await reply(house.olga, await say(house.olga, project_id))
    async with house.unchanged(project_id):
        await blamed(house.olga.call(resolve(second)), "comment_id")
        await blamed(house.olga.call(reopen(second)), "comment_id")


async def test_what_is_not_there_is_not_found(house: House) -> None:
    project_id = await _project(house)
    nothing = comment_pb2.Comment(project_id=project_id, comment_id=str(uuid.uuid4()))
    about = {"resource_type": "comment", "resource_id": nothing.comment_id}
    for request in (edit(nothing, "x"), delete(nothing), resolve(nothing), reopen(nothing)):
        await refused(house.olga.call(request), "RESOURCE_NOT_FOUND", **about)
    await refused(read(house.olga, nothing), "RESOURCE_NOT_FOUND", **about)
    await refused(reply(house.olga, nothing), "RESOURCE_NOT_FOUND", **about)


# --- the log -----------------------------------------------------------------------------------------------------


async def test_the_log_tells_all_of_it_and_none_of_the_words(house: House) -> None:
    """Every change is one entry, by name; texts are committed to by a hash beside the chain."""
    project_id = await _project(house)
    said = await say(house.olga, project_id, "First thought", anchor=anchor((1, 2)))
    answered = await reply(house.caller("bob"), said, "An answer")
    await house.olga.call(edit(said, "Second thought", reason="typing"))
    await house.olga.call(resolve(said, reason="settled"))
    await house.olga.call(reopen(said))
    await house.olga.call(delete(answered, reason="off topic"))
    entries = await told(house, project_id)
    about = {"comment_id": said.comment_id}
    payloads = [getattr(entry, entry.WhichOneof("payload") or "") for entry in entries]
    assert payloads == [
        audit_pb2.CommentCreated(
            **about,
            kind=NOTE,
            version_number=1,
            field="notes",
            start_line=1,
            end_line=2,
            text_sha256=sha256("First thought"),
            quote_sha256=sha256("one\ntwo"),
        ),
        audit_pb2.CommentCreated(
            comment_id=answered.comment_id,
            parent_comment_id=said.comment_id,
            kind=NOTE,
            text_sha256=sha256("An answer"),
        ),
        audit_pb2.CommentUpdated(**about, changed=["text"], text_sha256=sha256("Second thought")),
        audit_pb2.CommentStateChanged(**about, before=OPEN, after=RESOLVED),
        audit_pb2.CommentStateChanged(**about, before=RESOLVED, after=OPEN),
        audit_pb2.CommentDeleted(comment_id=answered.comment_id, author="bob"),
    ]
    assert [entry.reason for entry in entries] == ["", "", "typing", "settled", "", "off topic"]
    assert [entry.actor.subject for entry in entries] == ["olga", "bob", "olga", "olga", "olga", "olga"]
    chained = b"".join(entry.entry_bytes for entry in entries)
    for words in ("First thought", "Second thought", "An answer", "one\ntwo", "off topic"):
        assert words.encode() not in chained
        assert sha256(words).encode() not in chained
    assert json.loads(entries[0].entry_bytes)["text"].startswith("sha256:")


async def test_the_answer_names_the_position_of_its_entry(house: House) -> None:
    project_id = await _project(house)
    request = comment_pb2.CreateCommentRequest(project_id=project_id, text="x")
    created = await house.olga.call(request)
    answers = [created]
    for change in (edit(created.comment, "y"), resolve(created.comment), delete(created.comment)):
        answers.append(await house.olga.call(change))  # noqa: PERF401 - one after the other
    entries = await told(house, project_id)
    assert [answer.position for answer in answers] == [entry.position for entry in entries]
    times = [entry.time for entry in entries]
    assert [answer.comment.update_time for answer in answers] == times
