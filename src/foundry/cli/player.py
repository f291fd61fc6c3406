"""A client that is played: commands come in, replies and events go out, as JSON lines on stdin and stdout.

``foundry demo`` starts one such process for each person, so that what is shown is what separate programs see:

    FOUNDRY_TARGET=... FOUNDRY_TOKEN=... python -m foundry.cli.player PROJECT_ID

    <- {"opened": {"session_id": "..."}}
    -> {"id": 1, "do": "acquire", "field": "system_prompt"}
    <- {"event": {"entry": {...}}}
    <- {"reply": 1, "result": {...}}                    or {"reply": 1, "error": {"reason": "LOCK_HELD", ...}}

It leaves when its standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from foundry.cli.invocation import failure_of
from foundry.cli.output import JsonObject, to_json
from foundry.client import Foundry, FoundryError, HeldLock, Session, connect

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from coreason.foundry.v1.session_pb2 import ServerEvent

_LINE_BYTES_MAX: Final = 4 * 1024 * 1024


class Player:
    """Does in one session what it is told, one command after the other."""

    def __init__(self, foundry: Foundry, session: Session) -> None:
        self._foundry = foundry
        self._project_id = session.state.project.project_id
        self._session = session
        self._held: dict[str, HeldLock] = {}

    async def do(self, command: dict[str, Any]) -> JsonObject:
        """Do one command and return its result.

        Raises:
            FoundryError: The server refused.
        """
        field = command.get("field", "")
        match command["do"]:
            case "focus":
                await self._session.update_presence(focus_field=field, activity=command.get("activity", ""))
                return {}
            case "read":
                draft = await self._foundry.drafts.get(self._project_id, int(command.get("version", 0)) or None)
                texts = {value.name: value.text for value in draft.fields}
                what = {"texts": texts} if not field else {"text": texts.get(field, "")}
                return {**what, "version": draft.version_number, "content_sha256": draft.content_sha256}
            case "acquire":
                lock = self._held[field] = await self._session.acquire(field, purpose=command.get("purpose", ""))
                return to_json(lock.acquired)
            case "release":
                await self._session.release(self._held.pop(field))
                return {}
            case "save":
                return to_json(await self._save(field, command["text"], command.get("message", "")))
            case "comment" | "task" | "comment_of" | "done":
                return to_json(await self._talk(command))
        raise ValueError(f"there is no command {command['do']!r}")

    async def _talk(self, command: dict[str, Any]) -> Message:
        """Comment, set a task, tick it off, or read what somebody said."""
        comments, project_id = self._foundry.comments, self._project_id
        match command["do"]:
            case "comment":
                first, last = int(command["first"]), int(command["last"])
                head, field = self._session.state.head_version, command["field"]
                return await comments.create(
                    project_id, command["text"], field=field, version=head, start_line=first, end_line=last
                )
            case "task":
                return await comments.create(project_id, command["text"], task=True, assignee=command["assignee"])
            case "done":
                return await comments.resolve(project_id, command["comment_id"])
            case _:
                return await comments.get(project_id, command["comment_id"])

    async def _save(self, field: str, text: str, message: str) -> Message:
        """Save with the lock if this player holds it, and otherwise try without."""
        if lock := self._held.pop(field, None):
            return await lock.save(text, message=message)
        head = self._session.state.head_version
        return await self._session.save({field: text}, base_version=head, message=message)


async def play(target: str, token: str, project_id: str) -> None:
    """Join a project and do what standard input says until it ends."""
    commands = asyncio.StreamReader(limit=_LINE_BYTES_MAX)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    async with connect(target, token) as foundry:
        session = foundry.session(project_id, client_name="foundry demo", follow_runs=True)
        events = session.events()  # from before it is open, so that nothing is missed
        async with session:
            _say({"opened": {"session_id": session.session_id}})
            telling = asyncio.create_task(_tell(events))
            await _obey(Player(foundry, session), commands, target)
            telling.cancel()


async def _obey(player: Player, commands: asyncio.StreamReader, target: str) -> None:
    """Do one command after the other until there are no more."""
    while line := await commands.readline():
        command = json.loads(line)
        try:
            _say({"reply": command["id"], "result": await player.do(command)})
        except FoundryError as error:
            _say({"reply": command["id"], "error": failure_of(error, target).as_json()})


async def _tell(events: AsyncIterator[ServerEvent]) -> None:
    """Pass on what happens, but not the secret that would bring the session back."""
    async for event in events:
        if event.WhichOneof("event") not in {"opened", "tick"}:
            _say({"event": to_json(event)})


def _say(fields: JsonObject) -> None:
    sys.stdout.write(json.dumps(fields, ensure_ascii=False) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(play(os.environ["FOUNDRY_TARGET"], os.environ["FOUNDRY_TOKEN"], sys.argv[1]))
