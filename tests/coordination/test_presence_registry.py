"""The promises of a ``PresenceRegistry``, for every backend."""

from __future__ import annotations

from dataclasses import replace

from foundry.coordination.ports import PresenceRegistry
from foundry.domain.principal import Principal, PrincipalKind
from foundry.domain.session import Activity, Presence
from foundry.ids import new_id

ALICE = Presence("s1", Principal("alice"), 1)


async def test_latest_wins(presence: PresenceRegistry) -> None:
    """A session is shown once, as it was last put."""
    moved = replace(ALICE, shown=Activity("system_prompt", "3:1", "typing"), reconnecting=True)
    await presence.put("p", ALICE)
    await presence.put("p", moved)
    assert await presence.present("p") == [moved]


async def test_what_a_former_stream_shows_late_changes_nothing(presence: PresenceRegistry) -> None:
    """The session goes on with another stream: that one is shown."""
    former = replace(ALICE, stream_epoch=1)
    now = replace(ALICE, stream_epoch=2, shown=Activity("system_prompt"))
    for one in (former, now, replace(former, reconnecting=True)):
        await presence.put("p", one)
    assert await presence.present("p") == [now]


async def test_sessions_are_listed_by_age(presence: PresenceRegistry) -> None:
    """In the order in which the sessions began, however they were put and put again."""
    sessions = [replace(ALICE, session_id=new_id()) for _ in range(5)]
    for one in [*sessions[3:], *sessions[:3], sessions[4]]:
        await presence.put("p", one)
    assert await presence.present("p") == sessions


async def test_projects_are_apart(presence: PresenceRegistry) -> None:
    """Nobody is seen in a project they are not in, and leaving one leaves no other."""
    await presence.put("p", ALICE)
    await presence.put("q", ALICE)
    await presence.remove("p", "s1")
    assert (await presence.present("p"), await presence.present("q")) == ([], [ALICE])


async def test_removing_again_is_nothing(presence: PresenceRegistry) -> None:
    """A session that is gone, or never was, can be removed; it can come back."""
    await presence.remove("nowhere", "s1")
    await presence.put("p", ALICE)
    await presence.remove("p", "s2")
    await presence.remove("p", "s1")
    await presence.remove("p", "s1")
    assert await presence.present("p") == []
    await presence.put("p", ALICE)
    assert await presence.present("p") == [ALICE]


async def test_what_was_read_is_the_readers(presence: PresenceRegistry) -> None:
    """A list that was handed out does not change, and changing it changes nothing."""
    await presence.put("p", ALICE)
    seen = await presence.present("p")
    await presence.remove("p", "s1")
    assert seen == [ALICE]
    seen.append(ALICE)
    assert await presence.present("p") == []


async def test_two_tabs_of_one_person_are_two(presence: PresenceRegistry) -> None:
    """Sessions are shown, not people: closing one tab leaves the other."""
    other = replace(ALICE, session_id="s2")
    await presence.put("p", ALICE)
    await presence.put("p", other)
    assert await presence.present("p") == [ALICE, other]
    await presence.remove("p", "s1")
    assert await presence.present("p") == [other]


async def test_everything_of_a_session_is_shown_as_it_was_put(presence: PresenceRegistry) -> None:
    """All of it, to the last microsecond and whatever the script: nothing is rounded, cut or escaped away."""
    principal = Principal('an"agent\\', PrincipalKind.AGENT, "Ünïcode \u202e 名\x07", "alice", "gateway")
    shown = Activity("few_shot/greeting", "{}[]:%", "typing\n\ttests")
    full = Presence("s:1 %", principal, 1_800_000_000_123_457, shown, "cli 1.0", reconnecting=True)
    await presence.put("p:%\n", full)
    assert await presence.present("p:%\n") == [full]
