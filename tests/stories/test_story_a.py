"""Story A, the collaborative design session: two people, two programs, one pen."""

from __future__ import annotations

import asyncio

from coreason.foundry.v1 import lock_pb2, types_pb2
from tests.stories.log_replay import verified_replay
from tests.stories.processes import Player, ServerProcess
from tests.support import project_with

PROMPT = "system_prompt"


async def test_the_holder_writes_and_everybody_else_is_told_who_it_is(
    served: ServerProcess, elsewhere: ServerProcess
) -> None:
    """While Alice's program holds a field, Bob's is told so by name, and nothing Bob's program sends changes it.

    Alice's save gives the pen back and Bob's program learns of both at once; then the pen is Bob's.
    """
    alice_token, bob_token = await asyncio.gather(served.token("alice", "Alice A."), served.token("bob", "Bob B."))
    async with await served.connect("alice") as owner:
        project_id = await project_with(owner, "bob")
        async with Player(served, alice_token, project_id) as alice, Player(elsewhere, bob_token, project_id) as bob:
            granted = await alice.acquire(PROMPT)
            seen = await bob.sees_entry("lock_acquired", field=PROMPT, fencing_token=1)
            assert (seen.actor.subject, seen.actor.display_name) == ("alice", "Alice A.")
            assert seen.actor.kind == types_pb2.PRINCIPAL_KIND_HUMAN
            assert seen.lock_acquired.session_id == granted.lock.session_id

            denied = await bob.do("acquire", field=PROMPT)
            assert denied["reason"] == "LOCK_HELD"
            assert (denied["metadata"]["holder"], denied["metadata"]["holder_name"]) == ("alice", "Alice A.")
            await _cannot_write(bob, granted.lock.fencing_token)

            saved = await alice.save(PROMPT, "You are an expert oncologist.\n")
            assert saved.draft.version_number == 1
            created = await bob.sees_entry("draft_created", version_number=1)
            assert created.actor.subject == "alice"
            released = await bob.sees_entry("lock_released", field=PROMPT, fencing_token=1)
            assert released.lock_released.release_reason == lock_pb2.LOCK_RELEASE_REASON_SAVE

            taken = await bob.acquire(PROMPT)
            assert (taken.lock.fencing_token, taken.field_version, taken.head_version) == (2, 1, 1)
            assert taken.field_sha256 == created.draft_created.changed_fields[0].after_sha256
            assert (await bob.save(PROMPT, "You are an expert thoracic oncologist.\n")).draft.version_number == 2
            assert (await alice.sees_entry("draft_created", version_number=2)).actor.display_name == "Bob B."

        replayed = await verified_replay(owner, project_id)
        assert [entry.actor.subject for entry in replayed.drafts] == ["alice", "bob"]


async def _cannot_write(bob: Player, fencing_token: int) -> None:
    """Without a lock, with the holder's own token, and with no session at all: refused each time."""
    tries: dict[str, dict[str, object]] = {
        "LOCK_REQUIRED": {"in_session": True},
        "LOCK_LOST": {"in_session": True, "fencing_token": fencing_token},
        "LOCK_HELD": {"in_session": False},
    }
    for reason, how in tries.items():
        refused = await bob.do("save_unlocked", field=PROMPT, text="Bob was here.", **how)
        assert refused["reason"] == reason
