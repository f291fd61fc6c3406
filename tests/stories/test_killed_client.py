"""A program that dies takes no field with it."""

from __future__ import annotations

import asyncio

from coreason.foundry.v1 import audit_pb2, lock_pb2
from tests.stories.log_replay import verified_replay
from tests.stories.processes import Player, ServerProcess
from tests.support import project_with

PROMPT = "system_prompt"


async def test_the_field_of_a_killed_program_is_free_at_once(served: ServerProcess, elsewhere: ServerProcess) -> None:
    """SIGKILL of the holder's process frees its field without anybody's help; whoever waits is told and takes it.

    The promise is one second; the bound here leaves room for a busy machine.
    """
    alice_token, bob_token = await asyncio.gather(served.token("alice", "Alice A."), served.token("bob", "Bob B."))
    async with await served.connect("alice") as owner:
        project_id = await project_with(owner, "bob")
        async with Player(served, alice_token, project_id) as alice, Player(elsewhere, bob_token, project_id) as bob:
            hers = (await alice.acquire(PROMPT)).lock
            assert (await bob.do("acquire", field=PROMPT))["reason"] == "LOCK_HELD"

            loop = asyncio.get_running_loop()
            began = loop.time()
            alice.process.kill()
            released = (await bob.sees_entry("lock_released", field=PROMPT)).lock_released
            told_s = loop.time() - began
            his = (await bob.acquire(PROMPT)).lock
            taken_s = loop.time() - began
            print(f"\nSIGKILL of the holder: told after {told_s * 1000:.0f} ms, taken after {taken_s * 1000:.0f} ms")  # noqa: T201 - a figure for the reader

            assert (released.session_id, released.fencing_token) == (hers.session_id, hers.fencing_token)
            assert released.release_reason == lock_pb2.LOCK_RELEASE_REASON_STREAM_GONE
            assert (his.holder.subject, his.fencing_token) == ("bob", hers.fencing_token + 1)
            assert taken_s < 5.0
            closed = await bob.sees_entry("session_closed", session_id=hers.session_id)
            assert closed.session_closed.close_reason == audit_pb2.SESSION_CLOSE_REASON_STREAM_GONE
            replayed = await verified_replay(owner, project_id)
            assert replayed.sessions == {his.session_id}
