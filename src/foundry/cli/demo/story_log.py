"""The end: one log tells it all, and proves that it is whole."""

from __future__ import annotations

from foundry.cli.demo.cast import ALICE
from foundry.cli.demo.play import Story, expect, step
from foundry.cli.demo.stage import Stage
from foundry.cli.demo.story_c import BACK


@step("Every save lies inside a lock of its author, and every lock was released with a reason.")
async def _locks(stage: Stage) -> None:
    await stage.everybody_leaves()
    stage.transcript.does(ALICE, "foundry log PROJECT --verify")
    *entries, stage.verified = (await stage.run(ALICE, "log", stage.project_id, "--verify")).results
    stage.entries = len(entries)
    held: dict[str, tuple[str, int]] = {}
    saves = 0
    for entry in entries:
        if acquired := entry.get("lock_acquired"):
            expect(acquired["field"] not in held, f"{acquired['field']} was granted twice")
            held[acquired["field"]] = entry["actor"]["subject"], acquired["fencing_token"]
        elif released := entry.get("lock_released"):
            holder = held.pop(released["field"], None)
            expect(holder == (released["holder"], released["fencing_token"]), f"{released['field']} was not held")
        elif created := entry.get("draft_created"):
            saves += 1
            for change in created["changed_fields"]:
                holder = held.get(change["field"])
                expect(holder == (entry["actor"]["subject"], change["fencing_token"]), f"{change} without its lock")
    expect(saves == BACK, f"{saves} saves are logged")
    expect(not held, f"still held: {held}")
    stage.transcript.sees(ALICE, f"{saves} saves, each inside one lock of its author; no lock is left")


@step("The hash chain of the log verifies, recomputed by the client.")
async def _verify(stage: Stage) -> None:
    verified = stage.verified
    expect(verified.get("verified"), f"the answer is {verified}")
    expect(verified["entries"] == stage.entries, "the chain has another length than the log")
    stage.transcript.sees(ALICE, f"{verified['entries']} entries, unbroken chain, head {verified['head'][:12]}")


STORY_LOG = Story("One log tells it all", (_locks, _verify))
