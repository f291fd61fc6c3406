"""A client process that is played: commands come in, answers and events go out, as JSON lines.

The first line of standard input says where: ``{"target": ..., "token": ..., "project_id": ...}``. Then

    -> {"id": 1, "do": "acquire", "field": "system_prompt"}
    <- {"event": BASE64}                        each event of the session, a ``ServerEvent``
    <- {"reply": 1, "result": BASE64}           or {"reply": 1, "reason": "LOCK_HELD", "metadata": {...}}

It leaves when its standard input ends.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from typing import TYPE_CHECKING, Any

from coreason.foundry.v1.lock_pb2 import LockToken
from coreason.foundry.v1.run_pb2 import RUN_STATE_PASSED, AppendRunLogResponse
from foundry.client import Foundry, FoundryError, HeldLock, RunLogWriter, Session, connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.protobuf.message import Message

    from coreason.foundry.v1.session_pb2 import ServerEvent


def say(**fields: object) -> None:
    """Print a JSON line."""
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


async def standard_input() -> asyncio.StreamReader:
    """Standard input, to be read line by line without blocking."""
    reader = asyncio.StreamReader(limit=16 * 1024 * 1024)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


class Hands:
    """Does what it is told in one session."""

    def __init__(self, foundry: Foundry, session: Session, project_id: str) -> None:
        self._foundry = foundry
        self._session = session
        self._project_id = project_id
        self._held: dict[str, HeldLock] = {}
        self._log: RunLogWriter | None = None

    async def do(self, command: dict[str, Any]) -> Message:
        """Do one command and return what the server answered."""
        field = command.get("field", "")
        match command["do"]:
            case "acquire":
                lock = self._held[field] = await self._session.acquire(field)
                return lock.acquired
            case "save":
                return await self._held[field].save(command["text"], keep=command.get("keep", False))
            case "save_unlocked":
                # As the holder's program would, but without being the holder: with no token, or with a token it saw.
                token = command.get("fencing_token", 0)
                return await self._foundry.drafts.save(
                    self._project_id,
                    {field: command["text"]},
                    base_version=self._session.state.head_version,
                    session_id=self._session.session_id if command["in_session"] else "",
                    locks=[LockToken(field=field, fencing_token=token)] if token else (),
                )
            case "start_run":
                run = await self._foundry.runs.start(self._project_id, harness=command["harness"])
                self._log = await self._foundry.runs.append_log(self._project_id, run.run_id).__aenter__()
                return run
            case "write":
                assert self._log
                for text in command["lines"]:
                    await self._log.write(text)
                return AppendRunLogResponse(next_line=self._log.next_line)
            case "finish_run":
                assert self._log
                await self._log.__aexit__(None, None, None)
                lines = self._log.stored_lines
                return await self._foundry.runs.finish(
                    self._project_id, self._log.run_id, RUN_STATE_PASSED, expected_line_count=lines
                )
        raise ValueError(command)


async def tell(events: AsyncIterator[ServerEvent]) -> None:
    """Print every event."""
    async for event in events:
        say(event=base64.b64encode(event.SerializeToString()).decode())


async def main() -> None:
    """Join, and do what standard input says until it ends."""
    lines = await standard_input()
    setting = json.loads(await lines.readline())
    async with connect(setting["target"], setting["token"]) as foundry:
        session = foundry.session(
            setting["project_id"],
            disconnect_grace=setting.get("grace_s", 0.0),
            follow_runs=setting.get("follow_runs", False),
        )
        telling = asyncio.create_task(tell(session.events(capacity=100_000)))
        async with session:
            hands = Hands(foundry, session, setting["project_id"])
            while line := await lines.readline():
                command = json.loads(line)
                try:
                    answer = await hands.do(command)
                except FoundryError as error:
                    say(reply=command["id"], reason=error.reason, metadata=error.metadata)
                else:
                    say(reply=command["id"], result=base64.b64encode(answer.SerializeToString()).decode())
        await telling


if __name__ == "__main__":
    asyncio.run(main())
