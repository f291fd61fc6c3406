"""What is read of comments, runs, releases and logs is what was written, page by page, and nobody else's."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from foundry.domain.comment import Comment, CommentFilter, CommentKind, CommentState
from foundry.domain.run import Run, RunFilter, RunState
from foundry.store.errors import RowConflictError
from foundry.store.needs import Needs
from foundry.store.unit_of_work import UnitOfWork
from tests.managers.workspace import Workspace, opened
from tests.store.operations import flush_unit, unit_of


@pytest.fixture
async def workspace(data_dir: Path) -> AsyncIterator[Workspace]:
    """The store of a history in which everything happened."""
    async with opened(data_dir) as made:
        yield made


@pytest.fixture
def project_id(plain: sqlite3.Connection) -> str:
    """The project that goes on: with a task and its deleted answer, a finished run and one that runs."""
    found: str = plain.execute("SELECT project_id FROM draft WHERE version_number = 3").fetchone()[0]
    return found


@pytest.fixture
def released_id(plain: sqlite3.Connection) -> str:
    """The project that was released."""
    found: str = plain.execute("SELECT project_id FROM freeze").fetchone()[0]
    return found


async def comments_of(workspace: Workspace, project_id: str, **wanted: Any) -> list[Comment]:
    """Comments through pages of one."""
    found: list[Comment] = []
    while page := await workspace.store.comments.page(
        project_id, CommentFilter(**wanted), found[-1].comment_id if found else "", 1
    ):
        found += page
    return found


async def runs_of(workspace: Workspace, project_id: str, **wanted: Any) -> list[Run]:
    """Runs through pages of one."""
    found: list[Run] = []
    while page := await workspace.store.runs.page(
        project_id, RunFilter(**wanted), found[-1].run_id if found else "", 1
    ):
        found += page
    return found


# --- comments ---


async def test_each_filter_of_comments_restricts(workspace: Workspace, project_id: str) -> None:
    """By thread, kind, state, field, author, assignee and run: each finds what fits and nothing else."""
    task, reply = await comments_of(workspace, project_id)
    assert (task.text, reply.text, reply.delete_time_us > 0) == ("Say why, and for whom.", "", True)
    assert (task.is_reply, reply.is_reply, reply.thread_id) == (False, True, task.comment_id)
    found: list[tuple[dict[str, Any], list[Comment]]] = [
        ({"thread_id": task.comment_id}, [task, reply]),
        ({"thread_id": reply.comment_id}, []),
        ({"kind": CommentKind.TASK}, [task]),
        ({"kind": CommentKind.NOTE}, [reply]),
        ({"state": CommentState.OPEN}, [task]),
        ({"state": CommentState.DONE}, []),
        ({"field": "system_prompt"}, [task]),
        ({"field": "system"}, []),
        ({"author": "bob"}, [reply]),
        ({"author": "alice", "kind": CommentKind.NOTE}, []),
        ({"assignee": "alice"}, [task]),
        ({"run_id": task.run_id}, [task]),
    ]
    for wanted, expected in found:
        assert await comments_of(workspace, project_id, **wanted) == expected, wanted


async def test_a_comment_is_read_by_project_and_id(workspace: Workspace, project_id: str, released_id: str) -> None:
    """The same by either way; an id of another project is none."""
    for comment in await comments_of(workspace, project_id):
        assert await workspace.store.comments.get(project_id, comment.comment_id) == comment
        assert await workspace.store.comments.get(released_id, comment.comment_id) is None


async def test_earlier_texts_are_kept(plain: sqlite3.Connection, project_id: str) -> None:
    """Beside the newest, also of what was deleted."""
    rows = plain.execute(
        "SELECT text FROM comment_text WHERE project_id = ? ORDER BY comment_id, revision", (project_id,)
    )
    assert [text for (text,) in rows] == ["Say why.", "Say why, and for whom.", "Done."]


# --- runs ---


async def test_each_filter_of_runs_restricts(workspace: Workspace, project_id: str) -> None:
    """Newest first; by version, state and content."""
    going, passed = await runs_of(workspace, project_id)
    assert (going.state, passed.state) == (RunState.RUNNING, RunState.PASSED)
    assert going.run_id > passed.run_id
    assert [await runs_of(workspace, project_id, state=state) for state in RunState] == [[going], [passed], [], [], []]
    for wanted, expected in (
        ({"version_number": 3}, [going, passed]),
        ({"version_number": 2}, []),
        ({"content_sha256": passed.content_sha256}, [going, passed]),
        ({"content_sha256": "00" * 32}, []),
    ):
        assert await runs_of(workspace, project_id, **wanted) == expected, wanted
    assert await workspace.store.runs.running(project_id) == (going,)
    assert await workspace.store.runs.get(project_id, passed.run_id) == passed


async def test_evidence_is_a_passed_run_of_the_content(workspace: Workspace, project_id: str, released_id: str) -> None:
    """In this project; and a run that runs is none."""
    _, passed = await runs_of(workspace, project_id)
    runs = workspace.store.runs
    assert await runs.passed(project_id, passed.content_sha256)
    assert not await runs.passed(project_id, "00" * 32)
    assert not await runs.passed(released_id, passed.content_sha256)


async def test_a_line_is_found_in_its_chunk(workspace: Workspace, project_id: str) -> None:
    """Any line, and nothing behind the end; the chunks from a line on are whole ones."""
    for run in await runs_of(workspace, project_id):
        runs = workspace.store.runs
        found = [await runs.chunk(project_id, run.run_id, line) for line in range(1, 5)]
        places = [(chunk[0], chunk[1]) if chunk else None for chunk in found]
        assert places == [(1, 2), (1, 2), (3, 1), None]
        for line, firsts in ((1, [1, 3]), (2, [1, 3]), (3, [3]), (4, [])):
            assert [first async for first, _, _ in runs.chunks(project_id, run.run_id, line)] == firsts
        stored = b"".join([data async for _, _, data in runs.chunks(project_id, run.run_id)])
        assert [json.loads(line)["n"] for line in stored.splitlines()] == [1, 2, 3]
        assert len(stored) == run.log_bytes


# --- releases and logs ---


async def test_a_freeze_is_read_as_it_was_made(workspace: Workspace, released_id: str, project_id: str) -> None:
    """With the head of the log before it and the place of its entry."""
    freeze = await workspace.store.releases.get(released_id)
    assert freeze is not None
    entries = await workspace.log(released_id)
    assert entries[freeze.log_sequence - 1].leaf.hex() == freeze.log_leaf
    assert entries[freeze.log_sequence].new.event == "freeze_requested"
    frozen = entries[freeze.sequence - 1].new
    assert (frozen.event, frozen.data["fingerprint"]) == ("project_frozen", freeze.fingerprint)
    assert (freeze.reason, freeze.requester.display_name, freeze.version_number) == ("It is time.", "Alice A.", 1)
    assert await workspace.store.releases.get(project_id) is None


async def test_stored_entries_come_up_to_the_last_one_asked_for(workspace: Workspace, released_id: str) -> None:
    """Page by page without gaps; with salt and text where there are some."""
    entries = await workspace.log(released_id)
    last = len(entries) - 2
    found: list[Any] = []
    while page := await workspace.entries.stored(released_id, len(found), last, 7):
        assert len(page) <= 7
        found += page
    assert [row[0] for row in found] == list(range(1, last + 1))
    assert [row[1] for row in found] == [entry.entry_bytes for entry in entries[:last]]
    for (_, _, salt, text), entry in zip(found, entries, strict=False):
        has_text = b'"text":"sha256:' in entry.entry_bytes
        assert (salt is not None, text is not None) == (has_text, has_text)


# --- rows that changed meanwhile ---


async def test_what_somebody_else_changed_is_not_overwritten(workspace: Workspace, project_id: str) -> None:
    """Of two changes of a comment, or of a run, that were decided on the same row, the second is refused."""
    task, _ = await comments_of(workspace, project_id)
    going, _ = await runs_of(workspace, project_id)
    connection, needs = (
        workspace.database.connection,
        Needs(project_id, comments=(task.comment_id,), runs=(going.run_id,)),
    )

    async def changed(what: str) -> UnitOfWork:
        unit = await unit_of(workspace, needs)
        if what == "comment":
            unit.put_comment(replace(task, assignee="bob", revision=task.revision + 1))
        else:
            unit.put_run(replace(going, state=RunState.CANCELLED))
        return unit

    for what in ("comment", "run"):
        first, second = await changed(what), await changed(what)
        connection.sql("BEGIN IMMEDIATE")
        await flush_unit(workspace, first)
        with pytest.raises(RowConflictError):
            await flush_unit(workspace, second)
        connection.sql("ROLLBACK")
