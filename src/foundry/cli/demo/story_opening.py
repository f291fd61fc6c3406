"""Before the stories: a server, three people, and a project with its first version."""

from __future__ import annotations

import asyncio

from foundry.cli.demo.cast import ALICE, BOB, SRE
from foundry.cli.demo.play import Story, expect, step
from foundry.cli.demo.stage import Stage


@step("A server runs, and says that it is serving.")
async def _server(stage: Stage) -> None:
    await stage.start_server()
    ran, _ = await asyncio.gather(stage.run(None, "health"), stage.mint_tokens())
    expect(ran.result["status"] == "SERVING", f"it says {ran.result['status']}")


@step("Alice creates the project and makes Bob and Sam editors.")
async def _project(stage: Stage) -> None:
    example = stage.example
    options = ["--description", example.description]
    options += [word for label in sorted(example.labels.items()) for word in ("--label", "=".join(label))]
    options += [word for rule in sorted(example.rules.items()) for word in ("--rule", "=".join(rule))]
    stage.transcript.does(ALICE, f"foundry project create '{example.name}'")
    stage.project_id = (await stage.run(ALICE, "project", "create", example.name, *options)).result["project_id"]
    for person in (BOB, SRE):
        stage.transcript.does(ALICE, f"foundry project member set PROJECT {person.subject} editor")
    await asyncio.gather(*(_set_editor(stage, person.subject, person.name) for person in (BOB, SRE)))


async def _set_editor(stage: Stage, subject: str, name: str) -> None:
    args = (stage.project_id, subject, "editor", "--name", name)
    member = (await stage.run(ALICE, "project", "member", "set", *args)).result
    expect(member["role"] == "ROLE_EDITOR", f"{subject} is {member['role']}")


@step("Version 1 holds prompt, configuration, topology, examples and test cases.")
async def _first_version(stage: Stage) -> None:
    files = [f"{field}=@{path}" for field, path in stage.example.files.items()]
    stage.transcript.does(ALICE, f"foundry draft save PROJECT {' '.join(stage.example.files)}")
    saved = (await stage.run(ALICE, "draft", "save", stage.project_id, *files, "-m", "First version.")).result
    expect(saved["draft"]["version_number"] == 1, f"it is version {saved['draft']['version_number']}")
    _, bob = await asyncio.gather(stage.enter(ALICE), stage.enter(BOB))
    draft = (await bob.do("read", version="1")).result
    texts = draft["texts"]
    expect(set(texts) == set(stage.example.files), f"the fields are {sorted(texts)}")
    for field, path in stage.example.files.items():
        expect(texts[field] == path.read_text("utf-8"), f"{field} is not the file, byte for byte")


@step("Alice and Bob open the project, each in a program of their own, and see each other.")
async def _together(stage: Stage) -> None:
    alice, bob = stage.actor(ALICE), stage.actor(BOB)
    await alice.do("focus", field="system_prompt", activity="reading")
    await alice.sees_person("bob")
    seen = await bob.sees_person("alice")
    stage.transcript.sees(ALICE, "Bob B. is here")
    stage.transcript.sees(BOB, f"{seen['principal']['display_name']} is here")


OPENING = Story("A team opens a project", (_server, _project, _first_version, _together))
