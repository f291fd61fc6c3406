"""Runs and the lines of their consoles: rows, statements, queries."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import bindparam, exists, insert, select, update

from foundry.domain.run import Run, RunFilter, RunResult, RunState
from foundry.store import tables as t
from foundry.store.codec import dump, dump_principal, load_principal
from foundry.store.statement import Row, Statement

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from foundry.store.database import Reader

_RUN = select(*t.run.c)

RUN = Statement(_RUN.where(t.run.c.project_id == bindparam("project_id"), t.run.c.run_id == bindparam("run_id")))
RUNNING = Statement(_RUN.where(t.run.c.project_id == bindparam("project_id"), t.RUN_IS_GOING).order_by(t.run.c.run_id))
#: Whether a version's content, whatever number it has, came through a run.
EVIDENCE = Statement(
    select(
        exists().where(
            t.run.c.project_id == bindparam("project_id"),
            t.run.c.content_sha256 == bindparam("content_sha256"),
            t.run.c.state == "PASSED",
        )
    )
)
INSERT_RUN = Statement(insert(t.run))
_CHANGING = ("state", "finish_time_us", "line_count", "log_bytes", "log_sha256", "results")
UPDATE_RUN = Statement(
    update(t.run)
    .where(
        t.run.c.project_id == bindparam("key_project_id"),
        t.run.c.run_id == bindparam("key_run_id"),
        t.RUN_IS_GOING,
        t.run.c.line_count == bindparam("old_line_count"),
    )
    .values({name: bindparam(name) for name in _CHANGING})
)
INSERT_CHUNK = Statement(insert(t.run_log_chunk))
#: The chunk that holds a line, or the last one when it lies beyond the end: chunks follow each other without gaps. With
#: the end of the log at that moment.
CHUNK = Statement(
    select(
        t.run_log_chunk.c.first_line,
        t.run_log_chunk.c.line_count,
        t.run_log_chunk.c.data,
        select(t.head.c.last_sequence).where(t.head.c.log == t.run_log_chunk.c.project_id).scalar_subquery(),
    )
    .where(
        t.run_log_chunk.c.project_id == bindparam("project_id"),
        t.run_log_chunk.c.run_id == bindparam("run_id"),
        t.run_log_chunk.c.first_line <= bindparam("line"),
    )
    .order_by(t.run_log_chunk.c.first_line.desc())
    .limit(1)
)


def _behind(most: int) -> Statement:
    c = t.run_log_chunk.c
    of_run = (c.project_id == bindparam("project_id")) & (c.run_id == bindparam("run_id"))
    chunks = select(c.first_line, c.line_count, c.data).where(of_run, c.first_line > bindparam("line"))
    return Statement(chunks.order_by(c.first_line).limit(most))


#: The next chunks that begin behind a line: as many as are read at once, a megabyte.
_NEXT_CHUNKS = _behind(8)
#: The same for who holds the head, so that none is added meanwhile: more than come between two of its transactions.
TAIL = _behind(256)


def to_run(row: Row) -> Run:
    """A run from a row of ``RUN``."""
    (project_id, run_id, version, content, harness, labels, attempt, state, starter) = row[:9]
    (started, finished, line_count, log_bytes, log_sha256, results) = row[9:]
    return Run(
        run_id=run_id,
        project_id=project_id,
        version_number=version,
        content_sha256=content.hex(),
        harness=harness,
        labels=json.loads(labels) if labels != "{}" else {},
        attempt=attempt,
        state=RunState(state),
        starter=load_principal(starter),
        start_time_us=started,
        finish_time_us=finished,
        line_count=line_count,
        log_bytes=log_bytes,
        log_sha256=log_sha256.hex(),
        results=tuple(RunResult(**result) for result in json.loads(results)) if results != "[]" else (),
    )


def run_parameters(run: Run) -> dict[str, object]:
    """The columns of a new run."""
    return {
        "project_id": run.project_id,
        "run_id": run.run_id,
        "version_number": run.version_number,
        "content_sha256": bytes.fromhex(run.content_sha256),
        "harness": run.harness,
        "labels": dump(run.labels),
        "attempt": run.attempt,
        "starter": dump_principal(run.starter),
        "start_time_us": run.start_time_us,
        **changing_parameters(run),
    }


def changing_parameters(run: Run) -> dict[str, object]:
    """The columns of a run that may change."""
    return {
        "state": run.state.value,
        "finish_time_us": run.finish_time_us,
        "line_count": run.line_count,
        "log_bytes": run.log_bytes,
        "log_sha256": bytes.fromhex(run.log_sha256),
        "results": json.dumps([asdict(result) for result in run.results], ensure_ascii=False) if run.results else "[]",
    }


class Chunk(NamedTuple):
    """Lines as they are stored.

    Attributes:
        first: Number of the first line.
        data: As they are hashed: JSON, a line each.
        sequence: Sequence number of the newest entry of the project's log when they were read.
    """

    first: int
    line_count: int
    data: bytes
    sequence: int


class RunRepository:
    """Reads runs and their lines."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def get(self, project_id: str, run_id: str) -> Run | None:
        """A run by id."""
        row = await self._reader.row(RUN, {"project_id": project_id, "run_id": run_id})
        return to_run(row) if row else None

    async def running(self, project_id: str) -> tuple[Run, ...]:
        """The runs of a project that run, by age."""
        return tuple(to_run(row) for row in await self._reader.rows(RUNNING, {"project_id": project_id}))

    async def line_counts(self, project_ids: Sequence[str]) -> list[tuple[str, str, int]]:
        """Project, id and number of stored lines of every run that runs in these projects."""
        c = t.run.c
        query = select(c.project_id, c.run_id, c.line_count).where(t.RUN_IS_GOING, c.project_id.in_(project_ids))
        return [(row[0], row[1], row[2]) for row in await self._reader.fetch(query)]

    async def page(self, project_id: str, wanted: RunFilter, before: str, limit: int) -> list[Run]:
        """Runs older than the id ``before`` (all when it is empty), newest first; at most ``limit``."""
        c = t.run.c
        query = _RUN.where(c.project_id == project_id).order_by(c.run_id.desc()).limit(limit)
        if before:
            query = query.where(c.run_id < before)
        if wanted.version_number:
            query = query.where(c.version_number == wanted.version_number)
        if wanted.state:
            query = query.where(c.state == wanted.state.value)
        if wanted.content_sha256:
            query = query.where(c.content_sha256 == bytes.fromhex(wanted.content_sha256))
        return [to_run(tuple(row)) for row in await self._reader.fetch(query)]

    async def ids(self, project_id: str) -> AsyncGenerator[str, None]:
        """Ids of all runs, oldest first."""
        c, after = t.run.c, ""
        of_project = select(c.run_id).where(c.project_id == project_id).order_by(c.run_id).limit(1_000)
        while rows := await self._reader.fetch(of_project.where(c.run_id > after)):
            for (run_id,) in rows:
                yield run_id
                after = run_id

    async def passed(self, project_id: str, content_sha256: str) -> bool:
        """Whether content, whatever version it is, came through a run."""
        row = await self._reader.row(
            EVIDENCE, {"project_id": project_id, "content_sha256": bytes.fromhex(content_sha256)}
        )
        return bool(row and row[0])

    async def chunk(self, project_id: str, run_id: str, line: int) -> Chunk | None:
        """The stored chunk with a line; None beyond the end."""
        found = await self._reader.row(CHUNK, {"project_id": project_id, "run_id": run_id, "line": line})
        return Chunk(*found) if found and line < found[0] + found[1] else None

    async def chunks(
        self, project_id: str, run_id: str, line: int = 1, last: int | None = None
    ) -> AsyncGenerator[tuple[int, int, bytes], None]:
        """The stored chunks from that with a line on: number of the first line, number of lines, bytes.

        Reads as it goes: what is appended meanwhile comes too.

        Args:
            last: End with the chunk that holds this line.
        """
        first = await self.chunk(project_id, run_id, line)
        found: Sequence[Row] = [first[:3]] if first else []
        while found:
            for begin, count, data in found:
                yield begin, count, data
                line = begin + count
                if last is not None and line > last:
                    return
            behind = {"project_id": project_id, "run_id": run_id, "line": line - 1}
            # A store in this process answers without letting go of the loop.
            await asyncio.sleep(0)
            found = await self._reader.rows(_NEXT_CHUNKS, behind)
