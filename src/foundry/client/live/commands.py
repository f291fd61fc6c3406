"""The commands of a session that wait for their reply, over all its streams."""

from __future__ import annotations

import asyncio
import itertools

from coreason.foundry.v1 import lock_pb2, session_event_pb2, session_pb2


class Commands:
    """Numbers commands and brings each its reply. Ids go on over reconnects, so that a late reply finds nobody.

    Attributes:
        unwanted: Fields that the session may hold though nobody wants them: by the command that asked when somebody
            did, or that gives them back, until it is answered.
        kept: Grants that came too late for who had asked, while somebody else waits for the same.
    """

    def __init__(self) -> None:
        self.unwanted: dict[int, str] = {}
        self.kept: dict[str, lock_pb2.Lock] = {}
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

    def forget(self, command: session_pb2.ProjectSessionRequest, *, heard: bool) -> lock_pb2.Lock | None:
        """Wait no longer for a reply; the command is not sent again either.

        Args:
            heard: Whether who waited has the reply.

        Returns:
            What was granted, and whoever asked does not know.
        """
        _command, future = self._waiting.pop(command.command_id, (None, None))
        if future is None or not command.HasField("acquire_lock"):
            return None
        granted = self.kept.pop(command.acquire_lock.field, None)
        if future.cancelled() or not future.done():
            self.unwanted[command.command_id] = command.acquire_lock.field
        elif future.exception() is None and future.result().HasField("acquired"):
            return None if heard else future.result().acquired.lock
        return granted

    def resolve(self, reply: session_event_pb2.Reply) -> bool:
        """Hand a reply to who waits for it; returns whether somebody did."""
        self.unwanted.pop(reply.command_id, None)
        _command, future = self._waiting.get(reply.command_id, (None, None))
        if future is None or future.done():
            return False
        future.set_result(reply)
        return True

    def unanswered(self) -> list[session_pb2.ProjectSessionRequest]:
        """Return the commands that wait, in the order they were sent."""
        return [command for command, future in self._waiting.values() if not future.done()]

    def wants(self, field: str) -> bool:
        """Return whether somebody waits for the grant of a field."""
        # Also who has an answer and was not woken yet: until then nobody else knows that the lock is theirs.
        return any(
            command.HasField("acquire_lock") and command.acquire_lock.field == field and not future.cancelled()
            for command, future in self._waiting.values()
        )

    def fail(self, error: BaseException) -> None:
        """Tell everybody who waits that no reply will come."""
        for _command, future in self._waiting.values():
            if not future.done():
                future.set_exception(error)
