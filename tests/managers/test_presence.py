"""Who joined and who left, counted by user."""

from __future__ import annotations

from dataclasses import replace

import pytest

from foundry.coordination.memory import MemoryEventBus, MemoryPresenceRegistry
from foundry.domain.events import PresenceEvent
from foundry.domain.principal import Principal
from foundry.domain.session import Activity, Presence
from foundry.managers.presence import PresenceBoard

ALICE = Presence("s1", Principal("alice"), 1)
HER_OTHER_TAB = replace(ALICE, session_id="s2")
BOB = Presence("s3", Principal("bob"), 1)


@pytest.fixture
def board() -> PresenceBoard:
    return PresenceBoard(MemoryPresenceRegistry(), MemoryEventBus())


async def test_a_user_joins_with_the_first_session_and_leaves_with_the_last(board: PresenceBoard) -> None:
    """Two tabs are two sessions and one user."""
    first, second = await board.put("p", ALICE, 1), await board.put("p", HER_OTHER_TAB, 2)
    assert first == PresenceEvent(1, snapshot=False, sessions=(ALICE,), joined=("alice",))
    assert second == PresenceEvent(2, snapshot=False, sessions=(HER_OTHER_TAB,))
    gone, last = await board.remove("p", "s1", 3), await board.remove("p", "s2", 4)
    assert gone == PresenceEvent(3, snapshot=False, sessions=(), gone=("s1",))
    assert last == PresenceEvent(4, snapshot=False, sessions=(), gone=("s2",), left=("alice",))
    assert (await board.put("p", ALICE, 5)) == PresenceEvent(5, snapshot=False, sessions=(ALICE,), joined=("alice",))


async def test_others_do_not_count(board: PresenceBoard) -> None:
    """Another user, and the same user in another project, change nothing about who joins and leaves here."""
    await board.put("q", ALICE, 1)
    await board.put("p", BOB, 1)
    here = await board.put("p", ALICE, 2)
    assert here is not None
    assert here.joined == ("alice",)
    gone = await board.remove("p", "s1", 3)
    assert gone is not None
    assert gone.left == ("alice",)
    assert (await board.snapshot("p", 3)).sessions == (BOB,)


async def test_what_changed_is_told_and_what_did_not_is_not(board: PresenceBoard) -> None:
    """A new focus, or a lost stream, is a difference without a join; the same again is no news."""
    await board.put("p", ALICE, 1)
    assert await board.put("p", ALICE, 2) is None
    for changed in (replace(ALICE, shown=Activity("topology")), replace(ALICE, reconnecting=True)):
        assert await board.put("p", changed, 2) == PresenceEvent(2, snapshot=False, sessions=(changed,))


async def test_removing_who_is_not_here_is_no_news(board: PresenceBoard) -> None:
    """A late removal is told to nobody."""
    await board.put("p", ALICE, 1)
    assert await board.remove("p", "s9", 2) is None
    await board.remove("p", "s1", 2)
    assert await board.remove("p", "s1", 3) is None


async def test_a_snapshot_is_everybody(board: PresenceBoard) -> None:
    """With the version that the next difference continues."""
    await board.put("p", BOB, 1)
    await board.put("p", ALICE, 2)
    assert await board.snapshot("p", 2) == PresenceEvent(2, snapshot=True, sessions=(ALICE, BOB))
    assert await board.snapshot("q", 0) == PresenceEvent(0, snapshot=True, sessions=())
