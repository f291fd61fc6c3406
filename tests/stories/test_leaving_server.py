"""A server that is told to stop lets everybody know, and nobody loses the pen."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from coreason.foundry.v1 import session_event_pb2
from tests.stories.log_replay import verified_replay
from tests.stories.processes import PATIENCE_S
from tests.stories.prompt import prompt_session
from tests.support import project_with

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from coreason.foundry.v1.session_pb2 import ServerEvent
    from tests.stories.processes import ServerProcess

SESSIONS = 3


async def next_of(events: AsyncIterator[ServerEvent], arm: str) -> ServerEvent:
    """The next event of a kind."""
    async with asyncio.timeout(PATIENCE_S):
        async for event in events:
            if event.HasField(arm):  # type: ignore[arg-type]  # any arm
                return event
    raise AssertionError(f"the session ended without {arm}")


async def test_a_server_that_stops_says_goodbye_and_sessions_come_back_with_their_locks(served: ServerProcess) -> None:
    """SIGTERM: every session is told ``going_away``, the process ends with 0 within its bounds.

    On the next server the sessions are RESUMED, the same ones, under the same fences, and can save at once.
    """
    token = await served.token("alice", "Alice A.")
    async with await served.connect("alice") as alice, contextlib.AsyncExitStack() as stack:
        project_id = await project_with(alice)
        sessions = [prompt_session(alice, token, project_id) for _ in range(SESSIONS)]
        events = [session.events() for session in sessions]
        for session in sessions:
            await stack.enter_async_context(session)
        locks = [await session.acquire(f"part/{number}") for number, session in enumerate(sessions)]
        before = [(session.session_id, lock.fencing_token) for session, lock in zip(sessions, locks, strict=True)]
        for each in events:
            await next_of(each, "opened")

        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await served.terminate() == 0
        stopped_s = loop.time() - began
        print(f"\nSIGTERM: ended after {stopped_s * 1000:.0f} ms")  # noqa: T201 - a figure for the reader
        assert stopped_s < 15.0
        goodbyes = [(await next_of(each, "going_away")).going_away for each in events]
        assert all(goodbye.retry_after.ToMilliseconds() > 0 for goodbye in goodbyes)

        await stack.enter_async_context(served.again())
        for each in events:
            opened = (await next_of(each, "opened")).opened
            assert opened.attachment == session_event_pb2.ATTACHMENT_RESUMED
        saves = [lock.save(f"text {number}", keep=True) for number, lock in enumerate(locks)]
        saved = await asyncio.gather(*saves)
        assert sorted(each.draft.version_number for each in saved) == list(range(1, SESSIONS + 1))
        after = [(session.session_id, lock.fencing_token) for session, lock in zip(sessions, locks, strict=True)]
        assert after == before
        replayed = await verified_replay(alice, project_id)
        assert sorted(replayed.resumed) == sorted(session_id for session_id, _ in before)
        assert not replayed.ended, "a lock was let go of in between"
