"""Lists of comments: oldest first, by what they are about and by whom; and how many there may be."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import pytest_asyncio

from coreason.foundry.v1 import comment_pb2, project_pb2, run_pb2
from tests import backends
from tests.service.comments import anchor, delete, edit, listed, reply, resolve, say
from tests.service.house import House
from tests.service.refusals import blamed, refused

pytestmark = pytest.mark.asyncio(loop_scope="module")

TASK, NOTE = comment_pb2.COMMENT_KIND_TASK, comment_pb2.COMMENT_KIND_NOTE
OPEN, DONE = comment_pb2.COMMENT_STATE_OPEN, comment_pb2.COMMENT_STATE_DONE
RESOLVED = comment_pb2.COMMENT_STATE_RESOLVED

# --- filters -----------------------------------------------------------------------------------------------------

#: Comments by their text: who says them, and what else they say.
SAID: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "on the project": ("olga", {}),
    "on notes": ("olga", {"anchor": anchor((1, 1))}),
    "on all of notes": ("bob", {"anchor": anchor()}),
    "on notes/a": ("bob", {"anchor": anchor(field="other/a")}),
    "bob's task": ("olga", {"kind": TASK, "assignee": "bob"}),
    "nobody's task": ("bob", {"kind": TASK, "anchor": anchor((1, 1))}),
    "resolved": ("olga", {}),
    "done": ("olga", {"kind": TASK, "assignee": "bob"}),
    "on the run": ("bob", {"run_id": "the run"}),
    "gone": ("bob", {"anchor": anchor((1, 1))}),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def board(house: House) -> tuple[str, dict[str, str]]:
    """A project with these comments, and their ids and that of the run by name."""
    project_id = await house.project(bob=project_pb2.ROLE_EDITOR)
    await house.olga.call(comment_pb2.CreateCommentRequest(project_id=await house.project(), text="elsewhere"))
    await house.olga.save(project_id, notes="one\n", **{"other/a": "x\n"})
    run = (await house.olga.call(run_pb2.StartRunRequest(project_id=project_id))).run
    ids = {"the run": run.run_id}
    made = {}
    for text, (author, fields) in SAID.items():
        about = fields | ({"run_id": run.run_id} if "run_id" in fields else {})
        made[text] = await say(house.caller(author), project_id, text, **about)
        ids[text] = made[text].comment_id
    ids["reply"] = (await reply(house.caller("bob"), made["on notes"], "reply")).comment_id
    for text in ("resolved", "done"):
        await house.olga.call(resolve(made[text]))
    await house.olga.call(delete(made["gone"]))
    return project_id, ids


FOUND: Final[list[tuple[dict[str, Any], list[str]]]] = [
    ({}, [*SAID, "reply"]),
    ({"kind": TASK}, ["bob's task", "nobody's task", "done"]),
    ({"kind": TASK, "state": OPEN}, ["bob's task", "nobody's task"]),
    ({"state": RESOLVED}, ["resolved"]),
    ({"state": DONE}, ["done"]),
    ({"state": OPEN}, [text for text in SAID if text not in {"resolved", "done", "gone"}]),
    ({"field": "notes"}, ["on notes", "on all of notes", "nobody's task", "gone"]),
    ({"field": "other/a"}, ["on notes/a"]),
    ({"field": "other"}, []),
    ({"field": "%"}, []),
    ({"author": "bob"}, ["on all of notes", "on notes/a", "nobody's task", "on the run", "gone", "reply"]),
    ({"author": "Bob"}, []),
    ({"author": "bob", "field": "notes"}, ["on all of notes", "nobody's task", "gone"]),
    ({"author": "bob", "kind": NOTE, "field": "notes", "state": OPEN}, ["on all of notes"]),
    ({"assignee": "bob"}, ["bob's task", "done"]),
    ({"assignee": "olga"}, []),
    ({"run_id": "the run"}, ["on the run"]),
    ({"thread_id": "on notes"}, ["on notes", "reply"]),
    ({"thread_id": "on notes", "author": "bob"}, ["reply"]),
    ({"thread_id": "reply"}, []),
    ({"thread_id": "' OR 1=1 --"}, []),
]


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(("filters", "texts"), FOUND, ids=lambda value: ascii(value)[:60])
async def test_filters_find_exactly_what_they_say(
    house: House, board: tuple[str, dict[str, str]], filters: dict[str, Any], texts: list[str], size: int
) -> None:
    """Oldest first; together they restrict each other; a state restricts to threads. Whatever the pages."""
    project_id, ids = board
    by_name = {"thread_id", "run_id"}
    named = {name: ids.get(value, value) if name in by_name else value for name, value in filters.items()}
    found = await listed(house.olga, project_id, page_size=size, **named)
    assert [comment.comment_id for comment in found] == [ids[text] for text in texts]


async def test_an_unknown_version_is_refused_before_anything_is_listed(
    house: House, board: tuple[str, dict[str, str]]
) -> None:
    project_id, _ = board
    await refused(listed(house.olga, project_id, at_version=2), "RESOURCE_NOT_FOUND", resource_type="draft")
    await blamed(listed(house.olga, project_id, at_version=-1), "at_version")


async def test_what_is_said_in_between_moves_no_page(house: House) -> None:
    """Nor what is changed or deleted: each comment comes once, as it is then."""
    project_id = await house.project()
    said = [await say(house.olga, project_id, f"{number}") for number in range(4)]
    request = comment_pb2.ListCommentsRequest(project_id=project_id, page_size=2)
    first = await house.olga.call(request)
    await house.olga.call(delete(said[0]))
    await house.olga.call(edit(said[2], "changed"))
    await say(house.olga, project_id, "4")
    request.page_token = first.next_page_token
    second = await house.olga.call(request)
    request.page_token = second.next_page_token
    third = await house.olga.call(request)
    texts = [comment.text for answer in (first, second, third) for comment in answer.comments]
    assert texts == ["0", "1", "changed", "3", "4"]
    assert not third.next_page_token


async def test_a_page_fits_into_what_a_client_takes(house: House) -> None:
    """Under the 4 MiB of an ordinary client: fewer long comments to a page, none left out."""
    project_id = await house.project()
    text = "x" * 65_536
    for _ in range(50):
        await say(house.olga, project_id, text)
    request = comment_pb2.ListCommentsRequest(project_id=project_id, page_size=1000)
    first = await house.olga.call(request)
    assert first.ByteSize() < 4 * 1024 * 1024
    assert 1 < len(first.comments) < 50
    assert len(await listed(house.olga, project_id, page_size=1000)) == 50


# --- how many there may be ---------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _still(house: House, project_id: str) -> AsyncIterator[None]:
    """Nothing is written to a project that is too full to be compared as a whole."""
    count = "SELECT count(*), (SELECT max(sequence) FROM log_entry WHERE log = ?1) FROM comment WHERE project_id = ?1"
    before = house.execute(count, (project_id,))
    yield
    assert house.execute(count, (project_id,)) == before


def _copy(house: House, said: comment_pb2.Comment, count: int, *, thread: str | None) -> None:
    """Write so many more comments like one, behind the server's back; into a thread, or each one of its own."""
    columns = backends.current.columns(house.server.data_dir, "comment")
    changed = {"comment_id": "?3", "thread_id": "?4"}
    copied = ", ".join(changed.get(name, name) for name in columns)
    statement = f"INSERT INTO comment SELECT {copied} FROM comment WHERE project_id = ?1 AND comment_id = ?2"  # noqa: S608 - our own columns
    made = [f"00000000-0000-7000-8000-{number:012}" for number in range(count)]
    house.execute(statement, *((said.project_id, said.comment_id, each, thread or each) for each in made))


async def test_a_thread_holds_a_thousand_comments(house: House) -> None:
    """Its first one and tombstones count; another thread of the project is still to be begun."""
    project_id = await house.project()
    first = await say(house.olga, project_id)
    gone = await reply(house.olga, first)
    await house.olga.call(delete(gone))
    _copy(house, gone, 997, thread=first.comment_id)
    await reply(house.olga, first, "the last word")
    async with _still(house, project_id):
        await refused(reply(house.olga, first), "LIMIT_EXCEEDED", limit_name="comments in a thread", limit="1000")
    await reply(house.olga, await say(house.olga, project_id))


async def test_a_project_holds_twenty_thousand_comments(house: House) -> None:
    """Tombstones too; what is there can be changed, and another project does not mind."""
    project_id, other = await house.project(), await house.project()
    first = await say(house.olga, project_id)
    _copy(house, first, 19_998, thread=None)
    last = await say(house.olga, project_id, "the last one")
    await house.olga.call(delete(first))
    limit = {"limit_name": "comments in a project", "limit": "20000"}
    async with _still(house, project_id):
        await refused(say(house.olga, project_id), "LIMIT_EXCEEDED", **limit)
        await refused(reply(house.olga, last), "LIMIT_EXCEEDED", **limit)
    await house.olga.call(edit(last, "changed"))
    await house.olga.call(resolve(last))
    await say(house.olga, other)
