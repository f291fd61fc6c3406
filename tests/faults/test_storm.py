"""Two thousand sessions lose their server at the same moment, and all of them are back in the end."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from foundry.client import connect
from tests.faults.checker import Circumstances, check
from tests.faults.cluster import OWNER, involuntary
from tests.faults.entries import parse_entry
from tests.faults.figures import count, tell
from tests.faults.history import read_history
from tests.faults.programs import StormProcess
from tests.faults.recorder import now_ns
from tests.faults.tables import Tables, read_tables
from tests.stories.log_replay import read_log

if TYPE_CHECKING:
    from foundry.client import Foundry
    from tests.faults.cluster import Cluster

pytestmark = pytest.mark.fault

#: Programs, projects of each, sessions of each project.
PROGRAMS: Final = 4
PROJECTS: Final = 10
SESSIONS: Final = 50
#: Everybody is back within this time, seconds: attempts are at most 4 s apart, and two cores serve all of them.
BACK_S: Final = 90.0

_SERVED = """
SELECT s.project_id, count(*) AS served FROM session s JOIN replica r ON r.replica_id = s.server_boot_id
WHERE s.state = 'ATTACHED' AND r.address = ANY($1) GROUP BY 1
"""


async def projects_of(owner: Foundry, folder: Path, program: int) -> dict[str, str]:
    """Projects of a program, each with a file for the recording."""
    made = await asyncio.gather(*(owner.projects.create(f"Storm {program} {it}") for it in range(PROJECTS)))
    return {it.project_id: str(folder / f"storm_{program}_{place}.jsonl") for place, it in enumerate(made)}


async def all_back(programs: list[StormProcess], fault: str, begin_ns: int, lost: Counter[str]) -> None:
    """Wait until every session is live again; tell how long it took, and how many kept their locks."""
    least = [sum(lost[project_id] for project_id in program.projects) for program in programs]
    answers: list[dict[str, Any]] = await asyncio.gather(
        *(program.do("back", least=number) for program, number in zip(programs, least, strict=True))
    )
    back = sorted((ns - begin_ns) / 1e9 for answer in answers for ns in answer["back_ns"])
    refused = [why for answer in answers for why in answer["refused"]]
    assert not refused, f"{fault}: {len(refused)} sessions were refused, as {refused[0]}"
    assert len(back) == sum(answer["broken"] for answer in answers) >= sum(least)
    for share in (0.5, 0.99):
        tell(fault, f"{share:.0%} of {len(back)} sessions back after", back[int(len(back) * share)])
    tell(fault, f"all of {len(back)} sessions back after", back[-1], BACK_S)
    kept = sum(answer["resumed"] for answer in answers)
    count(fault, f"{kept} of {len(back)} kept their session and its lock", kept=kept, sessions=len(back))


async def test_two_thousand_sessions_come_back(cluster: Cluster, tmp_path: Path) -> None:
    """One server is replaced, then both are killed and begin anew: nobody is refused for good.

    How many kept their locks is told and not promised: whoever is not back when its server is given up loses them.
    """
    await cluster.serve()
    async with connect(cluster.address, cluster.token(OWNER)) as owner:
        shares = [await projects_of(owner, tmp_path, it) for it in range(PROGRAMS)]
    async with contextlib.AsyncExitStack() as stack:
        begin_ns = now_ns()
        programs = await asyncio.gather(
            *(
                stack.enter_async_context(
                    StormProcess(
                        tmp_path / f"storm{place}.log",
                        target=cluster.address,
                        token=cluster.token(OWNER),
                        projects=share,
                        sessions=SESSIONS,
                    )
                )
                for place, share in enumerate(shares)
            )
        )
        tell(
            "storm",
            f"{PROGRAMS * PROJECTS * SESSIONS} sessions opened, each with a lock, in",
            (now_ns() - begin_ns) / 1e9,
        )
        for fault, gone in (("storm, SIGTERM of one", 1), ("storm, SIGKILL of both", 2)):
            await strike(cluster, programs, fault, gone)
        ended = await asyncio.gather(*(program.stop() for program in programs))
        assert sum(it["sessions"] for it in ended) == PROGRAMS * PROJECTS * SESSIONS
    await judge(cluster, {project_id: path for share in shares for project_id, path in share.items()})


async def strike(cluster: Cluster, programs: list[StormProcess], fault: str, gone: int) -> None:
    """Take servers away, start them again at the same addresses, and wait for everybody."""
    await asyncio.gather(*(program.do("mark") for program in programs))
    victims = cluster.servers[:gone]
    addresses = [it.address for it in victims]
    rows = await cluster.store.query(_SERVED, addresses)
    lost = Counter({row["project_id"]: row["served"] for row in rows})
    begin_ns = now_ns()
    await asyncio.gather(*(it.terminate() if gone == 1 else it.kill() for it in victims))
    del cluster.servers[:gone]
    await asyncio.gather(*(cluster.again(it) for it in victims))
    tell(fault, "servers there again after", (now_ns() - begin_ns) / 1e9)
    await all_back(programs, fault, begin_ns, lost)


async def judge(cluster: Cluster, records: dict[str, str]) -> None:
    """Every project of the storm holds up to the checker."""
    seen: Counter[str] = Counter()
    closed: Counter[str] = Counter()
    async with connect(cluster.address, cluster.token(OWNER)) as fresh:
        for project_id, path in records.items():
            cluster.store.project_id = project_id
            await cluster.store.calm()
            entries = [parse_entry(it.entry_bytes) for it in await read_log(fresh, project_id)]
            tables: Tables = await read_tables(cluster.store.query, project_id)
            report = check(read_history([Path(path)]), entries, Circumstances(tables=tables, live_sessions=()))
            assert not report.violations, report.summary()[:6_000]
            seen += report.counts
            closed.update(it.data["close_reason"] for it in involuntary(entries) if it.event == "session_closed")
    assert seen["grants"] >= PROGRAMS * PROJECTS * SESSIONS
    count(
        "storm", f"no violation in {seen['operations']} operations, {seen['entries']} entries, {seen['grants']} grants"
    )
    count("storm", f"sessions that were closed without having asked for it: {dict(closed)}", closed=dict(closed))
