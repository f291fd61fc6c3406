"""Comments on the stream: every session hears of each at once, by name and without its words."""

from __future__ import annotations

from typing import Any, Final, Self

from coreason.foundry.v1 import comment_pb2, comment_pb2_grpc
from foundry.client import Foundry
from tests.session.tab import TOKEN_TTL_S, Tab, Tabs
from tests.support import PATIENCE_S

SAID: Final = "Section two contradicts the protocol."


class Talk:
    """Somebody who comments, over unary calls of their own."""

    def __init__(self, tabs: Tabs, subject: str) -> None:
        self._channel = tabs.server.channel()
        self._stub: Any = comment_pb2_grpc.CommentServiceStub(self._channel)
        self._options: dict[str, Any] = {
            "metadata": tabs.server.metadata(subject, ttl_seconds=TOKEN_TTL_S),
            "timeout": PATIENCE_S,
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def call(self, method: str, **fields: Any) -> Any:
        """Make a call of CommentService."""
        request = getattr(comment_pb2, f"{method}Request")(**fields)
        return await getattr(self._stub, method)(request, **self._options)


async def _until(tabs: list[Tab], arm: str, comment_id: str) -> list[Any]:
    """The entry as each tab got it."""
    return [await tab.until_entry(arm, comment_id=comment_id) for tab in tabs]


async def test_every_session_hears_of_each_change(tabs: Tabs, project: str) -> None:
    """Its author's too; the same entry, at the position that the call answered, without the words."""
    crowd = [await tabs.open(subject, project) for subject in ("alice", "alice", "bob", "carol")]
    async with Talk(tabs, "bob") as bob:
        made = await bob.call("CreateComment", project_id=project, text=SAID)
        about = {"project_id": project, "comment_id": made.comment.comment_id}
        steps = [
            ("comment_created", made),
            ("comment_state_changed", await bob.call("ResolveComment", **about, reason="settled")),
            ("comment_deleted", await bob.call("DeleteComment", **about)),
        ]
        for arm, answer in steps:
            entries = await _until(crowd, arm, made.comment.comment_id)
            assert entries == [entries[0]] * len(crowd)
            assert entries[0].position == answer.position
            assert (entries[0].actor.subject, entries[0].entry_bytes) == ("bob", b"")
    for tab in crowd:
        assert SAID not in "".join(str(event) for event in tab.events)


async def test_a_comment_that_was_heard_of_can_be_read(tabs: Tabs, project: str) -> None:
    """Durable first: whoever hears of it finds it, with the text that the entry commits to."""
    watcher = await tabs.open("carol", project)
    async with Talk(tabs, "bob") as bob, Talk(tabs, "carol") as carol:
        for number in range(5):
            since = len(watcher.events)
            made = await bob.call("CreateComment", project_id=project, text=f"{SAID} {number}")
            heard = (await watcher.until_entry("comment_created", since=since)).comment_created
            read = await carol.call("GetComment", project_id=project, comment_id=heard.comment_id)
            assert read.comment == made.comment


async def test_who_was_away_hears_of_what_was_said_meanwhile(tabs: Tabs, project: str) -> None:
    """Comments are entries of the log: a resumed session misses none."""
    first = await tabs.open("carol", project, disconnect_grace={"seconds": 20})
    ticket = first.ticket()
    await first.vanish()
    async with Talk(tabs, "bob") as bob:
        said = [await bob.call("CreateComment", project_id=project, text=SAID) for _ in range(3)]
    second = await tabs.open("carol", project, resume=ticket)
    heard = [entry for entry in second.entries if entry.HasField("comment_created")]
    assert [entry.position for entry in heard] == [answer.position for answer in said]


async def test_a_comment_takes_no_lock_and_breaks_none(tabs: Tabs, alice: Foundry, project: str) -> None:
    """People talk about what somebody else is writing."""
    await alice.drafts.save(project, {"system_prompt": "one\n"}, base_version=0)
    writer = await tabs.open("alice", project)
    got = await writer.acquire()
    async with Talk(tabs, "bob") as bob:
        anchor = comment_pb2.Anchor(version_number=1, field="system_prompt", start_line=1, end_line=1)
        await bob.call("CreateComment", project_id=project, text=SAID, anchor=anchor)
    assert (await writer.save(got, "two\n")).draft.version_number == 2


async def test_projects_do_not_hear_of_each_others_comments(tabs: Tabs, alice: Foundry, project: str) -> None:
    other = (await alice.projects.create("Another")).project_id
    here = await tabs.open("bob", project)
    async with Talk(tabs, "alice") as talk:
        await talk.call("CreateComment", project_id=other, text=SAID)
        made = await talk.call("CreateComment", project_id=project, text=SAID)
    await here.until_entry("comment_created")
    heard = [entry.comment_created.comment_id for entry in here.entries if entry.HasField("comment_created")]
    assert heard == [made.comment.comment_id]
