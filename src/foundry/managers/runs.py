"""The RunManager: tests while they run, and their consoles as they are written and sealed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from foundry.content import canonical_json, dump_line, dump_results, sha256_hex
from foundry.domain.access import Action, check_access, check_open, check_reason
from foundry.domain.entry import Event
from foundry.domain.errors import (
    ContentMismatch,
    FoundryError,
    LimitExceeded,
    LineNumberMismatch,
    NotFound,
    NotYours,
    RunFinished,
)
from foundry.domain.run import RUNNING_PER_PROJECT_MAX, LogLine, Run, RunFilter, RunResult, RunState
from foundry.ids import new_id
from foundry.managers.access import authorize, readable
from foundry.managers.console_digest import ConsoleDigest
from foundry.managers.entries import entry
from foundry.managers.holding import attached_session
from foundry.managers.paging import read_page
from foundry.managers.versions import named_version
from foundry.store.needs import Needs
from foundry.store.requests import request_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from foundry.domain.entry import Value
    from foundry.domain.principal import Caller
    from foundry.settings import Limits
    from foundry.store.drafts import DraftRepository
    from foundry.store.lane import WriteLane
    from foundry.store.projects import SqlAlchemyProjectRepository
    from foundry.store.runs import RunRepository
    from foundry.store.unit_of_work import UnitOfWork

#: Lines are stored in pieces of this size, so that reading one line never reads much more.
_CHUNK_BYTES = 128 * 1024


@dataclass(frozen=True, slots=True)
class WantedRun:
    """A run as it was asked for.

    Attributes:
        version_number: The version to test, 0 for the head.
        content_sha256: Hash the caller has of it, or empty.
        session_id: Live session of the caller, or empty.
    """

    version_number: int = 0
    content_sha256: str = ""
    harness: str = ""
    labels: dict[str, str] | None = None
    attempt: int = 1
    session_id: str = ""


@dataclass(frozen=True, slots=True)
class RunAnswer:
    """A run after a change, and the log position of its entry."""

    run: Run
    sequence: int


class RunManager:
    """Starts, appends to, finishes and cancels runs."""

    def __init__(
        self,
        lane: WriteLane,
        projects: SqlAlchemyProjectRepository,
        drafts: DraftRepository,
        runs: RunRepository,
        *,
        limits: Limits,
    ) -> None:
        self._lane = lane
        self._projects = projects
        self._drafts = drafts
        self._runs = runs
        self._limits = limits

    # --- the starter ---

    async def start(self, caller: Caller, project_id: str, wanted: WantedRun, *, request_id: str = "") -> RunAnswer:
        """Start a run of a version.

        Raises:
            FoundryError: See ``RunService.StartRun``.
        """
        project, member = await readable(self._projects, caller, project_id)
        check_access(Action.RUN, caller.principal, member, project)
        if not request_id:  # or it may be the repetition of a run that was started before the project was closed
            check_open(project)
        draft = await named_version(self._drafts, project, version_number=wanted.version_number or None)

        def decide(unit: UnitOfWork) -> RunAnswer:
            project, _ = authorize(unit, caller, Action.RUN)
            if (done := unit.replay(RunAnswer)) is not None:
                return done
            check_open(project)
            if wanted.content_sha256 and wanted.content_sha256 != draft.content_sha256:
                raise ContentMismatch(draft.version_number, draft.content_sha256)
            if wanted.session_id:
                attached_session(unit, caller, wanted.session_id)
            if len(unit.running_runs) >= RUNNING_PER_PROJECT_MAX:
                raise LimitExceeded("runs of a project at once", RUNNING_PER_PROJECT_MAX)
            run = Run(
                run_id=new_id(),
                project_id=project_id,
                version_number=draft.version_number,
                content_sha256=draft.content_sha256,
                harness=wanted.harness,
                labels=wanted.labels or {},
                attempt=wanted.attempt,
                state=RunState.RUNNING,
                starter=caller.principal,
                start_time_us=unit.now_us,
            )
            unit.put_run(run)
            data: dict[str, Value] = {
                "run_id": run.run_id,
                "version_number": run.version_number,
                "content_sha256": run.content_sha256,
                "attempt": run.attempt,
                "labels_sha256": sha256_hex(canonical_json(run.labels)),
            }
            started = entry(
                Event.RUN_STARTED,
                caller,
                data,
                session_id=wanted.session_id,
                request_id=request_id,
                harness=run.harness,
            )
            return unit.remember(RunAnswer(run, unit.record(started)))

        command: Value = [project_id, asdict(wanted)]
        needs = Needs(
            project_id,
            caller.principal.subject,
            sessions=(wanted.session_id,) if wanted.session_id else (),
            running_runs=True,
            request=request_key(caller.principal, "StartRun", request_id, command),
        )
        return await self._lane.submit(needs, decide)

    async def append(self, caller: Caller, project_id: str, run_id: str, lines: Sequence[LogLine]) -> int:
        """Store lines of a console, all or none, and let everybody see them; returns the number of the next line.

        Without lines it only tells that number.

        Raises:
            FoundryError: See ``RunService.AppendRunLog``.
        """
        for before, line in pairwise(lines):
            if line.number != before.number + 1:
                raise LineNumberMismatch(run_id, before.number + 1, line.number)
        chunks = _chunks(lines)
        size = sum(len(data) for _, data in chunks)

        def decide(unit: UnitOfWork) -> int:
            run = _own(unit, caller, run_id)
            if not lines:
                return run.line_count + 1
            if lines[0].number != run.line_count + 1:
                raise LineNumberMismatch(run_id, run.line_count + 1, lines[0].number)
            self._check_room(run, len(lines), size)
            for piece, data in chunks:
                unit.add_lines(run, piece, data)
            count = run.line_count + len(lines)
            unit.put_run(replace(run, line_count=count, log_bytes=run.log_bytes + size))
            return count + 1

        return await self._lane.submit(Needs(project_id, caller.principal.subject, runs=(run_id,)), decide)

    def _check_room(self, run: Run, lines: int, size: int) -> None:
        limits = self._limits
        if run.line_count + lines > limits.run_lines_max:
            raise LimitExceeded("lines in a run", limits.run_lines_max)
        if run.log_bytes + size > limits.run_bytes_max:
            raise LimitExceeded("bytes in a run", limits.run_bytes_max)

    async def finish(
        self,
        caller: Caller,
        project_id: str,
        run_id: str,
        state: RunState,
        *,
        results: tuple[RunResult, ...] = (),
        expected_line_count: int | None = None,
        request_id: str = "",
    ) -> RunAnswer:
        """Seal a run by number of lines and digest.

        Raises:
            FoundryError: See ``RunService.FinishRun``.
        """

        def check(_: UnitOfWork, run: Run) -> None:
            if expected_line_count is not None and expected_line_count != run.line_count:
                raise LineNumberMismatch(run_id, run.line_count + 1, expected_line_count + 1)

        command: Value = [
            *(project_id, run_id, state.value, expected_line_count),
            [asdict(result) for result in results],
        ]
        request = request_key(caller.principal, "FinishRun", request_id, command)
        needs = Needs(project_id, caller.principal.subject, runs=(run_id,), request=request)
        return await self._seal(
            caller, needs, run_id, state, check, results=results, request_id=request_id, owner_may=False
        )

    async def cancel(
        self, caller: Caller, project_id: str, run_id: str, *, reason: str = "", request_id: str = ""
    ) -> RunAnswer:
        """Seal a run as it is; for its starter, and for people with the role OWNER.

        Raises:
            FoundryError: See ``RunService.CancelRun``.
        """

        def check(unit: UnitOfWork, _: Run) -> None:
            check_reason(unit.project, reason)

        request = request_key(caller.principal, "CancelRun", request_id, [project_id, run_id, reason])
        needs = Needs(project_id, caller.principal.subject, runs=(run_id,), request=request)
        return await self._seal(
            caller, needs, run_id, RunState.CANCELLED, check, reason=reason, request_id=request_id, owner_may=True
        )

    async def _seal(
        self,
        caller: Caller,
        needs: Needs,
        run_id: str,
        state: RunState,
        check: Callable[[UnitOfWork, Run], None],
        *,
        owner_may: bool,
        results: tuple[RunResult, ...] = (),
        reason: str = "",
        request_id: str = "",
    ) -> RunAnswer:
        """End a run. Its digest is made before the transaction but for what comes in meanwhile, which is made within.

        So a console that is written faster than it can be read anew is sealed all the same.
        """
        digest = ConsoleDigest()
        stored_lines = 0

        def decide(unit: UnitOfWork) -> RunAnswer | None:
            nonlocal digest, stored_lines
            project, _ = authorize(unit, caller, Action.RUN)
            if (done := unit.replay(RunAnswer)) is not None:
                return done
            check_open(project)
            run = _known(unit.run(run_id), run_id)
            _check_own(unit, caller, run, owner_may=owner_may)
            check(unit, run)
            if digest.epoch != unit.epoch:  # what was read may have been lost with the history it stood in
                whole = digest = ConsoleDigest(unit.epoch)
            elif digest.line_count < digest.reaches:
                raise LookupError(f"line {digest.line_count + 1} of run {run_id} is missing")
            else:
                whole = digest.followed_by(unit.console)
            if whole.line_count != run.line_count:
                stored_lines = run.line_count
                return None
            ended = replace(
                run,
                state=state,
                finish_time_us=unit.now_us,
                log_sha256=whole.sha256.hexdigest(),
                results=results,
            )
            unit.put_run(ended)
            finished = entry(Event.RUN_FINISHED, caller, _finished(ended), request_id=request_id, reason=reason)
            return unit.remember(RunAnswer(ended, unit.record(finished)))

        answer = await self._lane.submit(needs, decide)
        while answer is None:  # everything but the digest is right
            digest.reaches = stored_lines
            async for chunk in self._runs.chunks(needs.project_id, run_id, digest.line_count + 1, stored_lines):
                digest.add(*chunk)
            answer = await self._lane.submit(replace(needs, console=(run_id, digest.line_count)), decide)
        return answer

    # --- everybody ---

    async def get(self, caller: Caller, project_id: str, run_id: str) -> Run:
        """A run.

        Raises:
            NotFound: No such run.
        """
        await readable(self._projects, caller, project_id)
        return _known(await self._runs.get(project_id, run_id), run_id)

    async def list_runs(
        self, caller: Caller, project_id: str, wanted: RunFilter, before: str, limit: int
    ) -> tuple[list[Run], bool]:
        """Runs older than the id ``before``, newest first, and whether there are more.

        At most ``limit``; fewer, but one at least, when they are large.
        """
        await readable(self._projects, caller, project_id)
        return await read_page(
            lambda behind, most: self._runs.page(project_id, wanted, behind, most),
            before,
            limit,
            key=lambda run: run.run_id,
            size=_size,
        )


def _size(run: Run) -> int:
    labels = sum(len(key) + len(value) for key, value in run.labels.items())
    return labels + sum(len(result.name) + len(result.value) for result in run.results)


def _known(run: Run | None, run_id: str) -> Run:
    if run is None:
        raise NotFound("run", run_id)
    return run


def _own(unit: UnitOfWork, caller: Caller, run_id: str) -> Run:
    """A run that the caller started and that runs."""
    project, _ = authorize(unit, caller, Action.RUN)
    check_open(project)
    run = _known(unit.run(run_id), run_id)
    _check_own(unit, caller, run, owner_may=False)
    return run


def _check_own(unit: UnitOfWork, caller: Caller, run: Run, *, owner_may: bool) -> None:
    """Refuse those whose run it is not, and everybody once it is finished."""
    if not run.starter.same_actor(caller.principal) and not (owner_may and _may_cancel(unit, caller)):
        raise NotYours("run", run.run_id, run.starter.subject)
    if run.state is not RunState.RUNNING:
        raise RunFinished(run.run_id, run.state.value)


def _may_cancel(unit: UnitOfWork, caller: Caller) -> bool:
    try:
        authorize(unit, caller, Action.CANCEL_RUN)
    except FoundryError:
        return False
    return True


def _chunks(lines: Sequence[LogLine]) -> list[tuple[tuple[LogLine, ...], bytes]]:
    """Lines in pieces of at most ``_CHUNK_BYTES``, or of one line, with their bytes."""
    chunks: list[tuple[tuple[LogLine, ...], bytes]] = []
    piece: list[LogLine] = []
    written: list[bytes] = []
    size = 0
    for line in lines:
        data = dump_line(line)
        if piece and size + len(data) > _CHUNK_BYTES:
            chunks.append((tuple(piece), b"".join(written)))
            piece, written, size = [], [], 0
        piece.append(line)
        written.append(data)
        size += len(data)
    if piece:
        chunks.append((tuple(piece), b"".join(written)))
    return chunks


def _finished(run: Run) -> dict[str, Value]:
    return {
        "run_id": run.run_id,
        "state": f"RUN_STATE_{run.state.value}",
        "line_count": run.line_count,
        "log_sha256": run.log_sha256,
        "results_sha256": sha256_hex(dump_results(run.results)),
        "starter": run.starter.subject,
    }
