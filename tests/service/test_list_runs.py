"""Reading runs without their consoles: one, or a page of them."""

from __future__ import annotations

from typing import Any

import pytest

from coreason.foundry.v1 import draft_pb2, project_pb2
from coreason.foundry.v1 import run_pb2 as pb
from tests.service.house import Caller, House
from tests.service.refusals import blamed, refused
from tests.service.runs import append, cancel, finish, get, lines_of, running, start, tested

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSED, FAILED, RUNNING = pb.RUN_STATE_PASSED, pb.RUN_STATE_FAILED, pb.RUN_STATE_RUNNING


async def _pages(caller: Caller, project_id: str, **wanted: Any) -> list[list[pb.Run]]:
    request = pb.ListRunsRequest(project_id=project_id, **wanted)
    pages = []
    while True:
        answer = await caller.call(request)
        pages.append(list(answer.runs))
        request.page_token = answer.next_page_token
        if not request.page_token:
            return pages


async def _listed(house: House, project_id: str, **wanted: Any) -> list[str]:
    return [run.run_id for page in await _pages(house.olga, project_id, **wanted) for run in page]


async def test_runs_are_listed_newest_first_as_they_are(house: House) -> None:
    """Each as GetRun tells it; those of other projects are not among them."""
    project_id = await tested(house)
    await running(house)
    runs = [await start(house.olga, project_id, harness=f"{number}") for number in range(5)]
    await append(house.olga, runs[1], lines_of("one"))
    await finish(house.olga, runs[2], results=[pb.RunResult(name="a", passed=True, value="1")])
    await cancel(house.olga, runs[3])
    [page] = await _pages(house.olga, project_id)
    assert [run.harness for run in page] == ["4", "3", "2", "1", "0"]
    assert page == [await get(house.olga, run) for run in reversed(runs)]
    assert [page[3].line_count, page[2].state, page[1].state] == [1, PASSED, pb.RUN_STATE_CANCELLED]


async def test_filters_restrict_by_version_state_and_content(house: House) -> None:
    """Content by its hash, whatever number the version has: a revert is tested already. Together they all count."""
    project_id = await tested(house)
    await house.olga.save(project_id, 1, system_prompt="You are careless.\n")
    revert = draft_pb2.RevertDraftRequest(project_id=project_id, version_number=1, base_version=2)
    await house.olga.call(revert)
    runs = [await start(house.olga, project_id, version_number=version) for version in (1, 2, 3, 1)]
    ids = [run.run_id for run in runs]
    assert runs[0].content_sha256 == runs[2].content_sha256 != runs[1].content_sha256
    await finish(house.olga, runs[0])
    await finish(house.olga, runs[1], FAILED)
    content = runs[0].content_sha256
    wanted: list[tuple[dict[str, Any], list[int]]] = [
        ({}, [3, 2, 1, 0]),
        ({"version_number": 1}, [3, 0]),
        ({"version_number": 9}, []),
        ({"version_number": 2**63 - 1}, []),
        ({"state": RUNNING}, [3, 2]),
        ({"state": PASSED}, [0]),
        ({"state": FAILED}, [1]),
        ({"state": pb.RUN_STATE_ERRORED}, []),
        ({"content_sha256": content}, [3, 2, 0]),
        ({"content_sha256": "0" * 64}, []),
        ({"version_number": 1, "state": RUNNING}, [3]),
        ({"content_sha256": content, "state": PASSED, "version_number": 1}, [0]),
        ({"content_sha256": content, "version_number": 2}, []),
    ]
    for filters, found in wanted:
        assert await _listed(house, project_id, **filters) == [ids[at] for at in found], filters


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("version_number", [-1, -(2**63)]),
        ("state", [-1, 6, 99]),
        ("content_sha256", ["x", "A" * 64, "a" * 63]),
        ("page_size", [-1, 1_001]),
    ],
)
async def test_a_filter_out_of_bounds_is_blamed(house: House, field: str, values: list[Any]) -> None:
    project_id = await tested(house)
    for value in values:
        await blamed(house.olga.call(pb.ListRunsRequest(project_id=project_id, **{field: value})), field)


async def test_pages_joined_are_the_list(house: House) -> None:
    """Whatever begins meanwhile: a page goes on behind the run that was last. Filters hold on every page."""
    project_id = await tested(house)
    runs = [await start(house.olga, project_id) for _ in range(9)]
    for run in runs[::2]:
        await finish(house.olga, run)
    ids = [run.run_id for run in reversed(runs)]
    pages = await _pages(house.olga, project_id, page_size=4)
    assert [[run.run_id for run in page] for page in pages] == [ids[:4], ids[4:8], ids[8:]]
    assert await _listed(house, project_id, page_size=2, state=PASSED) == ids[::2]
    first = await house.olga.call(pb.ListRunsRequest(project_id=project_id, page_size=4))
    await start(house.olga, project_id)
    request = pb.ListRunsRequest(project_id=project_id, page_size=1_000, page_token=first.next_page_token)
    assert [run.run_id for run in (await house.olga.call(request)).runs] == ids[4:]
    for filters in ({"state": PASSED}, {"version_number": 1}, {"content_sha256": runs[0].content_sha256}):
        other = pb.ListRunsRequest(project_id=project_id, page_token=first.next_page_token, **filters)
        await refused(house.olga.call(other), "PAGE_TOKEN_INVALID")


async def test_a_page_of_large_runs_has_fewer(house: House) -> None:
    """An answer stays below what gRPC clients take by default, and no run is lost between pages."""
    project_id = await tested(house)
    results = [pb.RunResult(name=f"{number:03}" + "n" * 197, value="v" * 200) for number in range(200)]
    runs = [await start(house.olga, project_id) for _ in range(45)]
    for run in runs:
        await finish(house.olga, run, results=results)
    pages = await _pages(house.olga, project_id, page_size=1_000)
    assert [run.run_id for page in pages for run in page] == [run.run_id for run in reversed(runs)]
    sizes = [pb.ListRunsResponse(runs=page).ByteSize() for page in pages]
    assert len(pages) > 1
    assert max(sizes) < 3 * 1024 * 1024 + 1_000


async def test_whoever_may_read_the_project_may_read_its_runs(house: House) -> None:
    """Outsiders are not told whether there are any, and members of one project not of another's."""
    run = await running(house, "one")
    vera, eve = house.caller("vera"), house.caller("eve")
    assert (await get(vera, run)).line_count == 1
    assert await _pages(vera, run.project_id) == [[await get(house.olga, run)]]
    elsewhere = await tested(house)
    for project_id in (run.project_id, "nobody's"):
        for request in (
            pb.GetRunRequest(project_id=project_id, run_id=run.run_id),
            pb.ListRunsRequest(project_id=project_id),
            pb.ReadRunLogRequest(project_id=project_id, run_id=run.run_id),
        ):
            await refused(eve.call(request), "PROJECT_ACCESS_DENIED", project_id=project_id)
    stray = pb.Run(project_id=elsewhere, run_id=run.run_id)
    await refused(get(house.olga, stray), "RESOURCE_NOT_FOUND", resource_type="run", resource_id=run.run_id)
    await refused(house.olga.call(pb.ReadRunLogRequest(project_id=elsewhere, run_id=run.run_id)), "RESOURCE_NOT_FOUND")
    await house.olga.call(project_pb2.RemoveMemberRequest(project_id=run.project_id, subject="vera"))
    await refused(get(vera, run), "PROJECT_ACCESS_DENIED")
