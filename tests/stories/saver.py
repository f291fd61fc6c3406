"""A client process that saves as fast as it can, on several fields at once, whatever becomes of the server.

The first line of standard input says where: ``{"target": ..., "token": ..., "project_id": ..., "fields": {...}}``, each
field with ``"stream"`` (a session that holds the field's lock throughout) or ``"unary"`` (a call with a request id,
repeated under the same id until it is acknowledged). It prints JSON lines: what it tries before it does, what was
acknowledged, and how its sessions came in.

When it has lost the server it begins no new save until it is told ``"go"``: not that those who are back first write
more than the others can be replayed. On ``"stop"`` it ends saving, and it leaves at the end of its input.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from coreason.foundry.v1.session_event_pb2 import Attachment
from foundry.client import DeadlineExceeded, Foundry, Unavailable, connect
from tests.stories.player import say, standard_input
from tests.stories.prompt import prompt_session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from coreason.foundry.v1.session_pb2 import ServerEvent

_TIMEOUT_S = 60.0


@dataclass
class Work:
    """What the savers share."""

    foundry: Foundry
    token: str
    project_id: str
    go: asyncio.Event = field(default_factory=asyncio.Event)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    leave: asyncio.Event = field(default_factory=asyncio.Event)

    async def goes_on(self) -> bool:
        """Wait until there may be another save; False when there is to be none."""
        await self.go.wait()
        return not self.stop.is_set()


async def tell_how_it_came_in(work: Work, name: str, events: AsyncIterator[ServerEvent]) -> None:
    """Print every ``opened``; after each but the first, wait to be told."""
    came_in = 0
    async for event in events:
        if event.HasField("opened"):
            came_in += 1
            if came_in > 1:
                work.go.clear()
            say(opened=Attachment.Name(event.opened.attachment), field=name, session_id=event.opened.session_id)


async def save_on_stream(work: Work, name: str) -> None:
    """Hold the field's lock and save under it."""
    session = prompt_session(work.foundry, work.token, work.project_id)
    telling = asyncio.create_task(tell_how_it_came_in(work, name, session.events()))
    async with session:
        lock = await session.acquire(name)
        count = 0
        while await work.goes_on():
            count += 1
            text = f"{name} {count}"
            saved = await lock.save(text, keep=True, timeout=_TIMEOUT_S)
            say(ack=saved.draft.version_number, field=name, text=text)
        say(stopped=name, session_id=session.session_id, fencing_token=lock.fencing_token, lost=lock.lost.is_set())
        await work.leave.wait()
    await telling


async def save_by_calls(work: Work, name: str) -> None:
    """Save by calls of their own; one that is not acknowledged is repeated under its request id."""
    base_version = count = 0
    while await work.goes_on():
        count += 1
        text, request_id = f"{name} {count}", str(uuid.uuid4())
        say(tried=request_id, field=name, text=text)
        saved = None
        while saved is None:
            try:
                saved = await work.foundry.drafts.save(
                    work.project_id, {name: text}, base_version=base_version, request_id=request_id, timeout=_TIMEOUT_S
                )
            except (Unavailable, DeadlineExceeded):
                work.go.clear()
                say(unacknowledged=request_id)
                await work.go.wait()
        base_version = saved.draft.version_number
        say(ack=base_version, field=name, text=text)
    say(stopped=name)
    await work.leave.wait()


async def main() -> None:
    """Do what standard input says until it ends."""
    lines = await standard_input()
    setting = json.loads(await lines.readline())
    kinds = {"stream": save_on_stream, "unary": save_by_calls}
    async with connect(setting["target"], setting["token"]) as foundry, asyncio.TaskGroup() as group:
        work = Work(foundry, setting["token"], setting["project_id"])
        work.go.set()
        for name, kind in setting["fields"].items():
            group.create_task(kinds[kind](work, name))
        while line := await lines.readline():
            if json.loads(line)["do"] == "stop":
                work.stop.set()
            work.go.set()
        work.leave.set()


if __name__ == "__main__":
    asyncio.run(main())
