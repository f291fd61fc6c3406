"""The commands of a session that wait for their reply, over all its streams."""

from __future__ import annotations

import asyncio
import itertools

from coreason.foundry.v1 import session_event_pb2, session_pb2


class Commands:
    """Numbers commands and brings each its reply. Ids go on over reconnects, so that a late reply finds nobody.

    Attributes:
        unwanted: Fields that were asked for, whose grant nobody waits for any more, and that may yet be granted.
    """

    def __init__(self) -> None:
        self.unwanted: set[str] = set()
        self._ids = itertools.count(1)
        self._waiting: dict[int, tuple[session_pb2.ProjectSessionRequest, asyncio.Future[session_event_pb2.Reply]]] = {}

    def number(self, command: session_pb2.ProjectSessionRequest) -> session_pb2.ProjectSessionRequest:
        """Give a command its id and return it."""
        command.command_id = next(self._ids)
        return command

    def expect(self, command: session_pb2.ProjectSessionRequest) -> asyncio.Future[session_event_pb2.Reply]:
        """Return what will hold the reply of a numbered command. Whoever awaits it calls ``forget`` afterwards."""
        future: asyncio.Future[session_event_pb2.Reply] = asyncio.get_running_loop().create_future()
        self._waiting[command.command_id] = command, future
        return future

    def forget(self, command: session_pb2.ProjectSessionRequest) -> None:
        """Wait no longer for a reply; the command is not sent again either."""
        _command, future = self._waiting.pop(command.command_id, (None, None))
        if future is not None and (future.cancelled() or not future.done()) and command.HasField("acquire_lock"):
            self.unwanted.add(command.acquire_lock.field)

    def resolve(self, reply: session_event_pb2.Reply) -> bool:
        """Hand a reply to who waits for it; returns whether somebody did."""
        if reply.HasField("acquired"):
            self.unwanted.discard(reply.acquired.lock.field)
        _command, future = self._waiting.get(reply.command_id, (None, None))
        if future is None or future.done():
            return False
        future.set_result(reply)
        return True

    def unanswered(self) -> list[session_pb2.ProjectSessionRequest]:
        """Return the commands that wait, in the order they were sent."""
        return [command for command, future in self._waiting.values() if not future.done()]

    def gives_back(self, field: str) -> bool:
        """Return whether a grant of a field is one that nobody waits for; asked once for each."""
        if field not in self.unwanted or any(it.acquire_lock.field == field for it in self.unanswered()):
            return False
        self.unwanted.discard(field)
        return True

    def fail(self, error: BaseException) -> None:
        """Tell everybody who waits that no reply will come."""
        for _command, future in self._waiting.values():
            if not future.done():
                future.set_exception(error)
