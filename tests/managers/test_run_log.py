"""Following the console of a run where nobody tells that there is more."""

from __future__ import annotations

from pathlib import Path

import pytest

from foundry.domain.run import LogLine, Run, RunState
from foundry.managers import run_log
from foundry.managers.run_log import RunLogReader
from foundry.managers.runs import WantedRun
from tests.managers.servers import servers
from tests.managers.workspace import ALICE
from tests.servers.postgres import PostgresServer, execute
from tests.support import soon


async def test_who_follows_a_run_over_a_failover_sees_its_end(
    url: str, tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody rings for what another server wrote around it: the follower looks by itself."""
    monkeypatch.setattr(run_log, "_LOOK_S", 0.01, raising=False)
    async with servers(tmp_path, url, 2, fates=(0,)) as (one, two):
        project_id = await one.project(ALICE)
        await one.save_unary(project_id, 0, {"notes": "1"})
        run = (await one.runs.start(ALICE, project_id, WantedRun())).run
        reader = RunLogReader(two.store.projects, two.store.runs, two.feed, two.clock, drain_s=1.0)
        reader.follow(two.feed)
        following = reader.read(ALICE, project_id, run.run_id, follow=True)
        assert await soon(anext(following)) == ()
        await execute(
            postgres.owner_url(url.rpartition("/")[2]), "UPDATE instance SET value = '2' WHERE name = 'epoch'"
        )
        await two.database.look()  # type: ignore[attr-defined]  # it is a shared one here
        line = LogLine(1, "one")
        await one.runs.append(ALICE, project_id, run.run_id, [line])
        assert await soon(anext(following)) == (line,)
        await one.runs.finish(ALICE, project_id, run.run_id, RunState.PASSED)
        ended = await soon(anext(following))
        assert isinstance(ended, Run)
        assert ended.state is RunState.PASSED
        await following.aclose()
