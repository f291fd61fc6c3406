"""A client process that edits, and records all it does: by commands, or by a plan of its own from a seed.

The first line of standard input says where and how (see ``Setting``); with a ``seed`` it then follows a random plan and
leaves by itself, at the latest after ``seconds``. Commands are JSON lines; they are answered when they are done.

    -> {"target": "127.0.0.1:1,127.0.0.1:2", "token": ..., "project_id": ..., "record": PATH, "process": "c1"}
    <- {"ready": SESSION_ID}
    -> {"id": 1, "do": "acquire", "field": "notes", "way": "call"}
    <- {"reply": 1, "outcome": "ok"}
    <- {"ended": {"acquire ok": 3, ...}}

With several addresses it goes to another server when its own is gone, as ``connect`` of the client library does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from collections import Counter
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from foundry.client import connect
from tests.faults.editor import Editor
from tests.faults.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.faults.recorder import Call

#: Actions of the plan with their weights, while it holds a field and while it does not.
_HOLDING: Final = {"save": 5, "release": 2, "touch": 1, "stale": 2, "leave": 1, "rest": 1}
_FREE: Final = {"acquire": 8, "once": 2, "stale": 2, "rest": 1}


@dataclass(frozen=True, slots=True)
class Setting:
    """How to work.

    Attributes:
        target: Addresses of the servers, ``host:port``, with commas between them.
        record: File for the recording; it must not exist.
        process: Name in the recording.
        fields: Fields of the plan.
        seed: Of the plan; None to do what commands say.
        operations: The plan ends after as many.
        seconds: It ends after this long, plan or not, and whatever is under way is then recorded as unknown.
        pause_s: Longest pause between two operations of the plan.
        timeout_s: How long an operation may take.
        grace_s: The disconnect grace of its sessions.
    """

    target: str
    token: str
    project_id: str
    record: str
    process: str
    fields: tuple[str, ...] = ("notes",)
    seed: int | None = None
    operations: int = 1_000_000
    seconds: float = 60.0
    pause_s: float = 0.02
    timeout_s: float = 5.0
    grace_s: float = 0.0


def read_setting(line: bytes) -> Setting:
    """A setting from its JSON line."""
    given = json.loads(line)
    known = {it.name for it in fields(Setting)}
    if unknown := given.keys() - known:
        raise ValueError(f"not settings: {sorted(unknown)}")
    return Setting(**{**given, "fields": tuple(given.get("fields", ("notes",)))})


@dataclass(slots=True)
class Client:
    """An editor that is told what to do.

    Attributes:
        done: How many operations of each kind and outcome there were.
    """

    editor: Editor
    done: Counter[str] = field(default_factory=Counter)

    async def do(self, command: dict[str, Any]) -> Call | None:
        """Do one command; returns the operation, None when there was nothing to do."""
        deed = command.pop("do")
        deeds: dict[str, Callable[..., Coroutine[Any, Any, Call | None]]] = {
            "acquire": self.editor.acquire,
            "touch": self.editor.touch,
            "save": self.editor.save,
            "once": self.editor.save_once,
            "stale": self.editor.save_stale,
            "release": self.editor.release,
            "break": self.editor.break_,
            "repeat": self.editor.repeat,
            "leave": self.editor.leave,
            "open": self.editor.open,
        }
        call = await deeds[deed](**command)
        self.done[f"{deed} {call.outcome if call else 'nothing'}"] += 1
        return call

    async def follow_plan(self, setting: Setting) -> None:
        """Do at random what editors do, from a seed, until the plan is done."""
        chance = random.Random(setting.seed)
        for number in range(setting.operations):
            await asyncio.sleep(chance.random() * setting.pause_s)
            await self._step(chance, chance.choice(setting.fields), f"{setting.process} {number}")

    async def _step(self, chance: random.Random, name: str, text: str) -> None:
        if self.editor.ended:
            await self.do({"do": "open"})
            return
        weights = _HOLDING if name in self.editor.grips else _FREE
        deed = chance.choices(list(weights), list(weights.values()))[0]
        way = chance.choice(("stream", "call"))
        match deed:
            case "rest":
                return
            case "save":
                await self.do({"do": deed, "field": name, "way": way, "text": text, "keep": chance.random() < 0.5})
            case "once" | "stale":
                await self.do({"do": deed, "field": name, "text": text})
            case "leave":
                await self.do({"do": deed})
            case _:
                await self.do({"do": deed, "field": name, "way": way})
        if self.editor.undecided and chance.random() < 0.5:
            await self.editor.repeat()


async def obey(client: Client, lines: asyncio.StreamReader) -> None:
    """Do what standard input says until it ends or says ``stop``."""
    while line := await lines.readline():
        command = json.loads(line)
        if command["do"] == "stop":
            return
        number = command.pop("id")
        call = await client.do(command)
        _say(reply=number, outcome=call.outcome if call else "nothing", reason=call.reason if call else "")


async def work(setting: Setting, lines: asyncio.StreamReader) -> Counter[str]:
    """Work to the end of the plan or of the commands, or of the time; returns what was done how often."""
    recorder = Recorder(Path(setting.record), setting.process)
    async with connect(setting.target, setting.token) as foundry:
        editor = Editor(foundry, recorder, setting.project_id, timeout_s=setting.timeout_s, grace_s=setting.grace_s)
        client = Client(editor)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(setting.seconds):
                await client.do({"do": "open"})
                _say(ready=editor.session_id)
                tasks = [obey(client, lines)]
                if setting.seed is not None:
                    tasks.append(client.follow_plan(setting))
                await _first(*tasks)
        await editor.close()
    recorder.end()
    return client.done


async def _first(*works: Coroutine[Any, Any, None]) -> None:
    """Run all of it until one is done."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


def _say(**shown: object) -> None:
    sys.stdout.write(json.dumps(shown) + "\n")
    sys.stdout.flush()


async def main() -> None:
    """Work as the first line of standard input says."""
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    done = await work(read_setting(await lines.readline()), lines)
    _say(ended=dict(sorted(done.items())))


if __name__ == "__main__":
    asyncio.run(main())
