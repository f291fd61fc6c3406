"""Finding one's projects: by name, labels, state, and whether they are archived."""

from __future__ import annotations

from typing import Any, Final

import pytest
import pytest_asyncio

from coreason.foundry.v1 import export_pb2, project_pb2
from coreason.foundry.v1.project_pb2 import ListProjectsRequest
from tests.service.house import House

pytestmark = pytest.mark.asyncio(loop_scope="module")

LABELS: Final[dict[str, dict[str, str]]] = {
    "Onkologie-Prüfung": {"team": "a", "phase": "2"},
    "PRÜFUNG der Straße": {"team": "a"},
    "100% sicher": {"team": "b", "phase": "2"},
    "100 Prozent": {"team": "A"},
    "snake_case": {"größe": "ä"},
    "snakeXcase": {"phase": "team"},
    "back\\slash / slash": {},
    "archived": {"team": "a"},
    "frozen": {},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shelf(house: House) -> dict[str, str]:
    """Projects of ``petra`` by name, one archived, one frozen; and one of somebody else with the same words."""
    petra = house.caller("petra")
    ids = {}
    for name, labels in LABELS.items():
        answer = await petra.call(project_pb2.CreateProjectRequest(name=name, labels=labels))
        ids[name] = answer.project.project_id
    await petra.call(project_pb2.ArchiveProjectRequest(project_id=ids["archived"]))
    await petra.save(ids["frozen"], notes="v1")
    await petra.call(export_pb2.RequestFreezeRequest(project_id=ids["frozen"], expected_version=1))
    await house.olga.call(
        project_pb2.CreateProjectRequest(name="Onkologie-Prüfung 100% snake_case", labels=LABELS["archived"])
    )
    return ids


async def _found(house: House, **filters: Any) -> list[str]:
    """Names of what is found, through pages of two."""
    request = ListProjectsRequest(page_size=2, **filters)
    names: list[str] = []
    while True:
        answer = await house.caller("petra").call(request)
        names += [project.name for project in answer.projects]
        request.page_token = answer.next_page_token
        if not request.page_token:
            return names


CURRENT: Final = [name for name in LABELS if name != "archived"]

FOUND: Final[list[tuple[dict[str, Any], list[str]]]] = [
    ({}, CURRENT),
    ({"name_contains": "prüf"}, ["Onkologie-Prüfung", "PRÜFUNG der Straße"]),
    ({"name_contains": "PRÜF"}, ["Onkologie-Prüfung", "PRÜFUNG der Straße"]),
    ({"name_contains": "STRASSE"}, ["PRÜFUNG der Straße"]),
    ({"name_contains": "prüfung der straße"}, ["PRÜFUNG der Straße"]),
    ({"name_contains": "pruf"}, []),
    ({"name_contains": "%"}, ["100% sicher"]),
    ({"name_contains": "100%"}, ["100% sicher"]),
    ({"name_contains": "_"}, ["snake_case"]),
    ({"name_contains": "e_c"}, ["snake_case"]),
    ({"name_contains": "\\"}, ["back\\slash / slash"]),
    ({"name_contains": "/"}, ["back\\slash / slash"]),
    ({"name_contains": "'"}, []),
    ({"name_contains": " "}, ["PRÜFUNG der Straße", "100% sicher", "100 Prozent", "back\\slash / slash"]),
    ({"labels": {"team": "a"}}, ["Onkologie-Prüfung", "PRÜFUNG der Straße"]),
    ({"labels": {"team": "a", "phase": "2"}}, ["Onkologie-Prüfung"]),
    ({"labels": {"phase": "team"}}, ["snakeXcase"]),
    ({"labels": {"größe": "ä"}}, ["snake_case"]),
    ({"labels": {"team": ""}}, []),
    ({"labels": {"team": "a", "größe": "ä"}}, []),
    ({"state": project_pb2.PROJECT_STATE_FROZEN}, ["frozen"]),
    ({"state": project_pb2.PROJECT_STATE_IN_REVIEW}, []),
    ({"state": project_pb2.PROJECT_STATE_ACTIVE}, [name for name in CURRENT if name != "frozen"]),
    ({"show_archived": True}, list(LABELS)),
    ({"show_archived": True, "labels": {"team": "a"}, "name_contains": "ARCH"}, ["archived"]),
    ({"name_contains": "prüf", "labels": {"phase": "2"}}, ["Onkologie-Prüfung"]),
]


@pytest.mark.parametrize(("filters", "names"), FOUND, ids=lambda value: ascii(value)[:50])
async def test_filters_find_exactly_what_they_say(
    house: House, shelf: dict[str, str], filters: dict[str, Any], names: list[str]
) -> None:
    """Oldest first, only one's own; names without case in any language, ``%`` as itself, labels exactly."""
    assert await _found(house, **filters) == names


async def test_a_member_finds_the_project_and_a_former_one_does_not(house: House) -> None:
    """From the moment they are one, to the moment they are not."""
    project_id = await house.project()
    quinn = house.caller("quinn")
    for request, count in (
        (project_pb2.SetMemberRequest(project_id=project_id, subject="quinn", role=project_pb2.ROLE_AUDITOR), 1),
        (project_pb2.RemoveMemberRequest(project_id=project_id, subject="quinn"), 0),
    ):
        await house.olga.call(request)
        assert len((await quinn.call(ListProjectsRequest())).projects) == count


async def test_an_agent_does_not_find_what_it_may_not_read(house: House) -> None:
    """A list shows no project that GetProject would refuse; people of the same subject see it."""
    robot = project_pb2.ROLE_EDITOR
    access = project_pb2.AgentAccess
    ids = [
        await house.project(project_pb2.Policy(agent_access=rule), robot=robot)
        for rule in (access.AGENT_ACCESS_DENY, access.AGENT_ACCESS_SUGGEST_ONLY, access.AGENT_ACCESS_EDIT)
    ]
    for kind, visible in (("agent", ids[1:]), ("human", ids), ("service", ids)):
        listed = await house.caller("robot", kind=kind).call(ListProjectsRequest())
        assert [project.project_id for project in listed.projects] == visible


async def test_a_changed_label_and_name_are_found_anew(house: House) -> None:
    project_id = await house.project()
    for number in range(2):
        await house.olga.foundry.projects.update(project_id, name=f"Ärzte {number}", labels={"run": f"{number}"})
    for filters, count in (
        ({"labels": {"run": "0"}}, 0),
        ({"labels": {"run": "1"}}, 1),
        ({"name_contains": "ärzte 0"}, 0),
        ({"name_contains": "ÄRZTE 1"}, 1),
    ):
        found = (await house.olga.call(ListProjectsRequest(**filters))).projects
        assert len(found) == count
