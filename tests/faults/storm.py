"""Many sessions in one program, each on a bare stream with a lock of its own, that come back when their server goes.

The first line of standard input says where and how; commands are JSON lines.

    -> {"target": ..., "token": ..., "projects": {PROJECT_ID: PATH}, "sessions": 50}
    <- {"ready": 500}
    -> {"id": 1, "do": "mark"}                  from here on breaks count
    -> {"id": 2, "do": "back", "least": 250}    wait until as many have broken, and all are live
    <- {"reply": 2, "broken": 250, "back_ns": [...], "resumed": 249, "refused": 0}
    -> {"do": "stop"}
    <- {"ended": {"sessions": 500}}

They wait between attempts as the client library does. Of each project there is one recording, of opening and taking.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc.aio

from coreason.foundry.v1.session_command_pb2 import Heartbeat, Leave, Open, SessionAcquireLock
from coreason.foundry.v1.session_pb2 import ProjectSessionRequest, ProjectSessionResponse
from foundry.client.channel import channel_options, target_of
from foundry.client.errors import FoundryError
from foundry.client.live.reader import Reader
from foundry.client.live.reconnect import Reconnect
from foundry.client.statuses import from_rpc_error
from tests.faults.recorder import Recorder, now_ns

if TYPE_CHECKING:
    from coreason.foundry.v1.session_event_pb2 import Reply
    from coreason.foundry.v1.session_pb2 import ServerEvent
    from tests.faults.recorder import Call

_PROJECT_SESSION: Final = "/coreason.foundry.v1.SessionService/ProjectSession"
_HEARTBEAT_S: Final = 4.0
#: Sessions of a program that are opened at the same time, at first.
_AT_ONCE: Final = 25


class Tab:
    """One session, over as many streams as it takes.

    Args:
        news: Set whenever something happens to it.

    Attributes:
        live: Set while it is caught up and holds its lock.
        back_ns: When it was live again after the breaks since the mark.
        broken: How often its stream broke since the mark.
        resumed: How often it came back as the session it was, since the mark.
        refused: Why it gave up for good; empty while it has not.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        token: str,
        project_id: str,
        *,
        field: str,
        recorder: Recorder,
        news: asyncio.Event,
    ) -> None:
        self._rpc: Any = channel.stream_stream(
            _PROJECT_SESSION,
            request_serializer=ProjectSessionRequest.SerializeToString,
            response_deserializer=ProjectSessionResponse.FromString,
        )
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._open = Open(project_id=project_id)
        self._field = field
        self._recorder = recorder
        self._news = news
        self._reconnect = Reconnect()
        self._call: Any = None
        self._writing = asyncio.Lock()
        self._asking: Call | None = None
        self._fence = 0
        self._commands = 0
        self._stopping = False
        self.session_id = ""
        self.live = asyncio.Event()
        self.mark()

    def mark(self) -> None:
        """Count from here on."""
        self.back_ns: list[int] = []
        self.broken = self.resumed = 0
        self.refused = ""

    @property
    def settled(self) -> bool:
        """Whether it is back, or will never be."""
        return self.live.is_set() or bool(self.refused)

    async def run(self) -> None:
        """Live until it is stopped or refused for good."""
        loop = asyncio.get_running_loop()
        while not self._stopping:
            begun_s = loop.time()
            error = await self._stream()
            self.broken += self.live.is_set()
            self.live.clear()
            self._news.set()
            if self._stopping:
                return
            try:
                delay_s = self._reconnect.delay_after(error, lasted_s=loop.time() - begun_s)
            except FoundryError as final:
                self.refused = final.reason or final.code.name
                self._news.set()
                return
            await asyncio.sleep(delay_s)

    async def leave(self) -> None:
        """End it."""
        self._stopping = True
        if self.live.is_set():
            await self._send(leave=Leave())

    def gone(self) -> None:
        """Write down that its session is over."""
        self._recorder.note("gone", session_id=self.session_id)

    async def _send(self, **command: Any) -> None:
        self._commands += 1
        call = self._call
        async with self._writing:  # a stream takes one message at a time
            with contextlib.suppress(grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError):  # see the reader
                await call.write(ProjectSessionRequest(command_id=self._commands, **command))

    async def _stream(self) -> FoundryError | None:
        if not self._reconnect.with_session:
            self._open.ClearField("resume")
        self._call = self._rpc(metadata=self._metadata)
        messages: Reader[ProjectSessionResponse] = Reader(self._call)
        self._writing = asyncio.Lock()
        beating = asyncio.create_task(self._beat())
        try:
            await self._send(open=self._open)
            while message := await messages.read():
                for event in message.events:
                    await self._take(event)
        except grpc.aio.AioRpcError as error:
            return from_rpc_error(error)
        finally:
            beating.cancel()
            self._call.cancel()
            if self._asking:
                self._asking.unknown("BROKEN")
                self._asking = None
        return None

    async def _beat(self) -> None:
        await self.live.wait()
        while True:
            await asyncio.sleep(_HEARTBEAT_S)
            await self._send(heartbeat=Heartbeat())

    async def _take(self, event: ServerEvent) -> None:
        match event.WhichOneof("event"):
            case "opened":
                self._opened(event.opened.session_id)
                self._open.resume.session_id = event.opened.session_id
                self._open.resume.resume_secret = event.opened.resume_secret
            case "caught_up":
                self._open.resume.after.CopyFrom(event.caught_up.position)
                if self._fence > 0:
                    self._is_live()
                else:
                    await self._ask()
            case "entry":
                self._open.resume.after.CopyFrom(event.entry.position)
            case "reply" if self._asking and event.reply.WhichOneof("result") in {"acquired", "error"}:
                self._answered(event.reply)

    def _opened(self, session_id: str) -> None:
        self._reconnect.attached()
        if session_id == self.session_id:
            self.resumed += 1
            return
        if self.session_id:
            self.gone()
            self._fence = -abs(self._fence)  # it is to be asked for again
        with self._recorder.call("open") as call:
            call.ok(session_id=session_id)
        self.session_id = session_id

    async def _ask(self) -> None:
        named: dict[str, Any] = {"field": self._field}
        if self._fence:
            named["if_unchanged_since"] = -self._fence
        self._asking = self._recorder.call("acquire", session_id=self.session_id, **named)
        await self._send(acquire_lock=SessionAcquireLock(**named))

    def _answered(self, reply: Reply) -> None:
        assert self._asking
        if reply.HasField("error"):
            self._asking.unknown("REFUSED")
            self.refused = reply.error.message
        else:
            self._fence = reply.acquired.lock.fencing_token
            self._asking.ok(fence=self._fence, session_id=self.session_id)
        self._asking = None
        self._is_live()

    def _is_live(self) -> None:
        self.live.set()
        self.back_ns.append(now_ns())
        self._news.set()


async def main() -> None:
    """Be a storm, and do what standard input says until it ends."""
    lines = asyncio.StreamReader(limit=1_000_000)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    setting = json.loads(await lines.readline())
    tabs: list[Tab] = []
    news = asyncio.Event()
    recorders, channels = [], []
    for project_id, path in setting["projects"].items():
        channels.append(grpc.aio.insecure_channel(target_of(setting["target"]), options=_options()))
        recorders.append(Recorder(Path(path), Path(path).stem))
        of = (channels[-1], setting["token"], project_id)
        tabs += [
            Tab(*of, field=f"field{number}", recorder=recorders[-1], news=news) for number in range(setting["sessions"])
        ]
    running = await _begin(tabs)
    _say(ready=len(tabs))
    while line := await lines.readline():
        command = json.loads(line)
        if command["do"] == "stop":
            break
        _say(reply=command["id"], **(await _do(tabs, news, command)))
    await asyncio.gather(*(tab.leave() for tab in tabs))
    await asyncio.wait(running, timeout=30.0)
    for tab in tabs:
        tab.gone()
    for recorder in recorders:
        recorder.end()
    await asyncio.gather(*(channel.close() for channel in channels))
    _say(ended={"sessions": len(tabs)})


def _options() -> list[tuple[str, Any]]:
    return [*channel_options(), ("grpc.use_local_subchannel_pool", 1)]


async def _begin(tabs: list[Tab]) -> list[asyncio.Task[None]]:
    running = []
    for first in range(0, len(tabs), _AT_ONCE):
        some = tabs[first : first + _AT_ONCE]
        running += [asyncio.create_task(tab.run()) for tab in some]
        await asyncio.gather(*(tab.live.wait() for tab in some))
    return running


async def _do(tabs: list[Tab], news: asyncio.Event, command: dict[str, Any]) -> dict[str, Any]:
    if command["do"] == "mark":
        for tab in tabs:
            tab.mark()
        return {"marked": len(tabs)}
    while sum(bool(tab.broken) for tab in tabs) < command["least"] or not all(tab.settled for tab in tabs):
        news.clear()
        await news.wait()
    broken = [tab for tab in tabs if tab.broken]
    return {
        "broken": len(broken),
        "back_ns": [tab.back_ns[-1] for tab in broken if tab.back_ns],
        "resumed": sum(bool(tab.resumed) for tab in broken),
        "refused": [tab.refused for tab in tabs if tab.refused],
    }


def _say(**shown: object) -> None:
    sys.stdout.write(json.dumps(shown) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
