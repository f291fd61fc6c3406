"""A server that dies in the middle of the work takes nothing with it that it had acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.stories.gag import relay_to
from tests.stories.log_replay import check_chain, read_log, verified_replay
from tests.stories.processes import PATIENCE_S, Child
from tests.support import project_with

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from foundry.client import Foundry
    from tests.stories.gag import Relay
    from tests.stories.processes import ServerProcess

#: Client processes, and how many of them stop hearing the server a moment before it dies: what they ask for is
#: committed and not acknowledged.
PROCESSES, DEAF = 4, 2
#: Saves of each process that are acknowledged before the server is killed, and after it is back.
ACKNOWLEDGED_BEFORE, ACKNOWLEDGED_AFTER = 100, 25


class Saver(Child):
    """A client process that saves on one field by stream and on others by calls; see ``saver.py``."""

    def __init__(self, number: int, log: Path) -> None:
        super().__init__("-m", "tests.stories.saver", log=log)
        self.fields = {f"by_stream/{number}": "stream", f"by_calls/{number}": "unary"}

    async def begin(self, target: str, token: str, project_id: str) -> None:
        """Let it work."""
        await self.tell(target=target, token=token, project_id=project_id, fields=self.fields)

    async def until(self, key: str, wanted: int) -> None:
        """Wait until it has said this so often, counted from the beginning."""
        await self.matching(lambda line: line.startswith(f'{{"{key}"'), wanted, f"{wanted} times {key}")

    async def stop(self) -> None:
        """Let it finish what it began, and hold what it holds."""
        await self.tell(do="stop")
        await self.until("stopped", len(self.fields))

    def said(self, key: str) -> list[dict[str, Any]]:
        """The lines that say this."""
        return [found for line in self.lines if key in (found := json.loads(line))]


def said(savers: Iterable[Saver], key: str) -> list[dict[str, Any]]:
    """What all of them said."""
    return [line for saver in savers for line in saver.said(key)]


async def test_a_killed_server_comes_back_with_everything_it_acknowledged(served: ServerProcess) -> None:
    """SIGKILL of the server under load, and a new one on the same data and address.

    Every acknowledged save is there, under its number and with its content; versions are contiguous; the log's chain is
    whole. Sessions come back RESUMED with their locks under the same fences. A save that is repeated under its request
    id, because nobody knew whether it had happened, happens once, and the answer is what it was the first time.
    """
    token = await served.token("alice", "Alice A.")
    async with (
        await served.connect("alice") as alice,
        relay_to(served.address) as relay,
        contextlib.AsyncExitStack() as stack,
    ):
        project_id = await project_with(alice)
        log = served.data_dir.with_suffix(".saver.log")
        savers = [await stack.enter_async_context(Saver(number, log)) for number in range(PROCESSES)]
        for saver in savers:
            target = relay.address if saver in savers[:DEAF] else served.address
            await saver.begin(target, token, project_id)
        await asyncio.gather(*(saver.until("ack", ACKNOWLEDGED_BEFORE) for saver in savers))
        in_doubt = await _gag(alice, project_id, relay, savers[:DEAF])

        await served.kill()
        relay.gagged = False
        await asyncio.gather(*(saver.until("unacknowledged", 1) for saver in savers))
        # How long a client may take to come back depends on chance; here nobody is to be too late.
        await stack.enter_async_context(served.again(FOUNDRY_LIVENESS__RESTART_GRACE_S="60"))
        await asyncio.gather(*(saver.until("opened", 2) for saver in savers))
        for saver in savers:
            await saver.tell(do="go")
        wanted = {saver: len(saver.said("ack")) + ACKNOWLEDGED_AFTER for saver in savers}
        await asyncio.gather(*(saver.until("ack", wanted[saver]) for saver in savers))
        await asyncio.gather(*(saver.stop() for saver in savers))

        acks = said(savers, "ack")
        assert in_doubt.items() <= {ack["text"]: ack["ack"] for ack in acks}.items()
        await _everything_acknowledged_is_there(alice, project_id, acks)
        await _nothing_happened_twice(alice, project_id, savers)
        await _sessions_kept_their_locks(alice, project_id, savers)


async def _gag(alice: Foundry, project_id: str, relay: Relay, deaf: list[Saver]) -> dict[str, int]:
    """Keep the answers back until the last call of each deaf process is committed; returns their texts and versions."""
    committed: dict[str, int] = {}
    async with alice.session(project_id) as watching, asyncio.timeout(PATIENCE_S):
        events = watching.events()
        relay.gagged = True
        async for event in events:
            created = event.entry.draft_created
            committed |= {change.after_sha256: created.version_number for change in created.changed_fields}
            last = [saver.said("tried")[-1]["text"] for saver in deaf]
            versions = {text: committed.get(hashlib.sha256(text.encode()).hexdigest(), 0) for text in last}
            if all(versions.values()) and not versions.keys() & {ack["text"] for ack in said(deaf, "ack")}:
                return versions
    raise AssertionError("the session ended")


async def _everything_acknowledged_is_there(alice: Foundry, project_id: str, acks: list[dict[str, Any]]) -> None:
    drafts = {draft.version_number: draft async for draft in alice.drafts.list(project_id, page_size=1_000)}
    assert sorted(drafts) == list(range(1, len(drafts) + 1)), "versions are not contiguous"
    assert len({ack["ack"] for ack in acks}) == len(acks)
    for ack in acks:
        (change,) = drafts[ack["ack"]].changed_fields
        assert change.field == ack["field"]
        assert change.after_sha256 == hashlib.sha256(ack["text"].encode()).hexdigest()

    async def read(ack: dict[str, Any]) -> None:
        draft = await alice.drafts.get(project_id, ack["ack"], fields=[ack["field"]])
        assert draft.fields[0].text == ack["text"]

    for start in range(0, len(acks), 32):
        await asyncio.gather(*(read(ack) for ack in acks[start : start + 32]))


async def _nothing_happened_twice(alice: Foundry, project_id: str, savers: list[Saver]) -> None:
    """Each text was saved under one version only, although some saves were sent again and again."""
    entries = await read_log(alice, project_id)
    check_chain(entries)
    made = [entry for entry in entries if entry.HasField("draft_created")]
    requests = Counter(json.loads(entry.entry_bytes)["request_id"] for entry in made)
    assert max(requests.values()) == 1
    changes = Counter(
        (change.field, change.after_sha256) for entry in made for change in entry.draft_created.changed_fields
    )
    assert max(changes.values()) == 1
    # Whoever repeats until it is acknowledged has every one of its saves in the log by now.
    assert {line["tried"] for line in said(savers, "tried")} <= requests.keys()


async def _sessions_kept_their_locks(alice: Foundry, project_id: str, savers: list[Saver]) -> None:
    replayed = await verified_replay(alice, project_id)
    stopped = [line for line in said(savers, "stopped") if "session_id" in line]
    assert {line["stopped"]: (line["fencing_token"], line["lost"]) for line in stopped} == {
        f"by_stream/{number}": (1, False) for number in range(PROCESSES)
    }
    assert {name: (lock.session_id, lock.fencing_token) for name, lock in replayed.held.items()} == {
        line["stopped"]: (line["session_id"], 1) for line in stopped
    }
    assert sorted(replayed.resumed) == sorted(line["session_id"] for line in stopped)
    for saver in savers:
        came_in = [line["opened"] for line in saver.said("opened")]
        assert came_in == ["ATTACHMENT_SNAPSHOT", "ATTACHMENT_RESUMED"]
