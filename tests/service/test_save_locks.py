"""Nothing is written outside a lock: what a save under the wrong lock, session or version gets."""

from __future__ import annotations

import pytest

from coreason.foundry.v1 import audit_pb2, draft_pb2, lock_pb2, project_pb2
from tests.service.house import House
from tests.service.refusals import blamed, refused
from tests.service.saves import save_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

EDITORS = {"bob": project_pb2.ROLE_EDITOR, "carol": project_pb2.ROLE_EDITOR}


async def test_a_session_must_name_the_lock_of_each_changed_field(house: House) -> None:
    """LOCK_REQUIRED, also when it holds the lock and merely does not show its token."""
    project_id, bob = await house.project(**EDITORS), house.caller("bob")
    async with bob.session(project_id) as session:
        lock = await session.acquire("a")
        await session.acquire("b")
        request = save_of(
            project_id, {"a": "1", "b": "2"}, session_id=session.session_id, locks={"a": lock.fencing_token}
        )
        async with house.unchanged(project_id):
            await refused(bob.call(request), "LOCK_REQUIRED", field="b")


async def test_a_save_with_another_sessions_lock_is_refused(house: House) -> None:
    """Neither somebody else's lock nor that of the writer's own other tab counts."""
    project_id, bob = await house.project(**EDITORS), house.caller("bob")
    carol = house.caller("carol", name="Carol C.")
    async with carol.session(project_id) as hers, bob.session(project_id) as tab, bob.session(project_id) as other:
        lock, own = await hers.acquire("a"), await other.acquire("b")
        save = save_of(project_id, {"a": "1"}, session_id=tab.session_id, locks={"a": lock.fencing_token})
        own_save = save_of(project_id, {"b": "1"}, session_id=tab.session_id, locks={"b": own.fencing_token})
        async with house.unchanged(project_id):
            await refused(
                bob.call(save),
                "LOCK_LOST",
                field="a",
                fencing_token="1",
                current_fencing_token="1",
                holder="carol",
                holder_name="Carol C.",
                session_id=hers.session_id,
            )
            await refused(bob.call(own_save), "LOCK_LOST", holder="bob", session_id=other.session_id)


async def test_a_save_with_an_older_fence_is_refused(house: House) -> None:
    """The same session held it, gave it back and holds it again: a save of the first time is too late."""
    project_id, bob = await house.project(**EDITORS), house.caller("bob")
    async with bob.session(project_id) as session:
        first = (await session.acquire("a")).fencing_token
        await bob.call(
            lock_pb2.ReleaseLockRequest(
                project_id=project_id, field="a", session_id=session.session_id, fencing_token=first
            )
        )
        second = await bob.call(
            lock_pb2.AcquireLockRequest(project_id=project_id, field="a", session_id=session.session_id)
        )
        assert second.acquired.lock.fencing_token == first + 1
        late = save_of(project_id, {"a": "1"}, session_id=session.session_id, locks={"a": first})
        early = save_of(project_id, {"a": "1"}, session_id=session.session_id, locks={"a": first + 2})
        async with house.unchanged(project_id):
            await refused(bob.call(late), "LOCK_LOST", fencing_token="1", current_fencing_token="2", holder="bob")
            await refused(bob.call(early), "LOCK_LOST", fencing_token="3", current_fencing_token="2")


async def test_a_save_under_a_released_lock_is_refused(house: House) -> None:
    """The field is free, so there is no holder to name."""
    project_id, bob = await house.project(**EDITORS), house.caller("bob")
    async with bob.session(project_id) as session:
        save = save_of(project_id, {"a": "1"}, session_id=session.session_id, locks={"a": 1})
        async with house.unchanged(project_id):
            refusal = await refused(bob.call(save), "LOCK_LOST", field="a", current_fencing_token="0")
        assert "holder" not in refusal.metadata


async def test_a_save_after_the_stream_of_its_session_ended_is_refused(house: House) -> None:
    """The locks went with the stream; the token that was right a moment ago writes nothing."""
    project_id, bob = await house.project(**EDITORS), house.caller("bob")
    async with bob.session(project_id) as session:
        token = (await session.acquire("a")).fencing_token
        session_id = session.session_id
    save = save_of(project_id, {"a": "1"}, session_id=session_id, locks={"a": token})
    async with house.unchanged(project_id):
        await refused(bob.call(save), "SESSION_CLOSED", session_id=session_id)


async def test_a_save_in_a_session_that_is_not_the_callers_is_refused(house: House) -> None:
    """Somebody else's, one of another project, and one that never was: the same answer."""
    project_id, elsewhere = await house.project(**EDITORS), await house.project(**EDITORS)
    bob, carol = house.caller("bob"), house.caller("carol")
    async with carol.session(project_id) as hers, bob.session(elsewhere) as his:
        token = (await hers.acquire("a")).fencing_token
        for session_id in (hers.session_id, his.session_id, "01994b7e-0000-7000-8000-000000000002", "x"):
            save = save_of(project_id, {"a": "1"}, session_id=session_id, locks={"a": token})
            async with house.unchanged(project_id):
                await refused(bob.call(save), "SESSION_CLOSED", session_id=session_id)


async def test_without_a_session_there_are_no_locks_to_name_or_keep(house: House) -> None:
    project_id = await house.project()
    async with house.unchanged(project_id):
        await blamed(house.olga.call(save_of(project_id, {"a": "1"}, locks={"a": 1})), "locks")
        await blamed(house.olga.call(save_of(project_id, {"a": "1"}, keep_locks=True)), "keep_locks")


async def test_a_token_names_each_field_once_and_counts_from_1(house: House) -> None:
    project_id = await house.project()
    async with house.olga.session(project_id) as session:
        twice = save_of(project_id, {"a": "1"}, session_id=session.session_id, locks={"a": 1})
        twice.locks.add(field="a", fencing_token=2)
        zero = save_of(project_id, {"a": "1"}, session_id=session.session_id, locks={"a": 0})
        async with house.unchanged(project_id):
            await blamed(house.olga.call(twice), "locks")
            await blamed(house.olga.call(zero), "locks.fencing_token")


async def test_a_save_without_a_session_names_every_holder(house: House) -> None:
    """LOCK_HELD with the first in its metadata and all of them listed; nothing is written, also not the free fields."""
    project_id, bob = await house.project(**EDITORS), house.caller("bob")
    carol = house.caller("carol", name="Carol C.")
    async with carol.session(project_id) as hers, bob.session(project_id) as his:
        first = await hers.acquire("b")
        await his.acquire("c")
        save = save_of(project_id, {"a": "1", "b": "2", "c": "3"})
        async with house.unchanged(project_id):
            refusal = await refused(
                bob.call(save),
                "LOCK_HELD",
                field="b",
                holder="carol",
                holder_name="Carol C.",
                holder_kind="HUMAN",
                session_id=hers.session_id,
                fencing_token=str(first.fencing_token),
                same_principal="false",
            )
    assert refusal.violations == [("fields/b", "held by Carol C. (carol)"), ("fields/c", "held by bob (bob)")]


async def test_ones_own_other_session_is_told_as_such(house: House) -> None:
    """So that a person is asked whether to take over their other tab."""
    project_id = await house.project()
    async with house.olga.session(project_id) as session:
        await session.acquire("a")
        await refused(house.olga.call(save_of(project_id, {"a": "1"})), "LOCK_HELD", same_principal="true")


async def test_all_of_64_holders_are_named(house: House) -> None:
    project_id = await house.project()
    names = [f"few_shot/example_{number:02}" for number in range(64)]
    async with house.olga.session(project_id) as session:
        for name in names:
            await session.acquire(name)
        refusal = await refused(house.olga.call(save_of(project_id, dict.fromkeys(names, "{}"))), "LOCK_HELD")
    assert [subject for subject, _ in refusal.violations] == [f"fields/{name}" for name in names]


async def test_a_refusal_with_much_to_say_still_arrives(house: House) -> None:
    """Details travel in trailers, which peers may refuse above 8 KiB: long lists are cut, never the reason."""
    talker = house.caller("ü" * 100, name="ö" * 100)
    project_id = await house.project(**{"ü" * 100: project_pb2.ROLE_EDITOR})
    names = [f"{number:02}{'x' * 198}" for number in range(64)]
    async with talker.session(project_id) as session:
        for name in names:
            await session.acquire(name)
        refusal = await refused(house.olga.call(save_of(project_id, dict.fromkeys(names, "x"))), "LOCK_HELD")
    assert len(refusal.raw) < 8 * 1024
    assert refusal.violations[0][0] == f"fields/{names[0]}"


async def test_a_stale_base_is_refused_with_who_changed_what(house: House) -> None:
    """ABORTED / STALE_VERSION: base, head, and two keys for each field that changed meanwhile; not for the others."""
    project_id, bob = await house.project(**EDITORS), house.caller("bob")
    await house.olga.save(project_id, a="1", b="1", c="1")
    await bob.save(project_id, 1, a="2")
    await house.caller("carol").save(project_id, 1, b="2", d="2")
    save = save_of(project_id, {"a": "3", "b": "3", "c": "3"}, base_version=1)
    async with house.unchanged(project_id):
        refusal = await refused(bob.call(save), "STALE_VERSION")
    assert refusal.metadata == {
        "base_version": "1",
        "head_version": "3",
        "changed:a:version": "2",
        "changed:a:author": "bob",
        "changed:b:version": "3",
        "changed:b:author": "carol",
    }


async def test_a_lock_does_not_make_an_old_base_good(house: House) -> None:
    """Whoever typed on the text of before must see what came in between, lock or not."""
    project_id, bob = await house.project(**EDITORS), house.caller("bob")
    await house.olga.save(project_id, a="1")
    async with bob.session(project_id) as session:
        lock = await session.acquire("a")
        save = save_of(
            project_id, {"a": "2"}, base_version=0, session_id=session.session_id, locks={"a": lock.fencing_token}
        )
        async with house.unchanged(project_id):
            await refused(bob.call(save), "STALE_VERSION", base_version="0", head_version="1")


async def test_an_old_base_is_fine_for_fields_that_did_not_change(house: House) -> None:
    """Two people save different fields: both succeed, one version each, and the draft is the head plus the change."""
    project_id, bob = await house.project(**EDITORS), house.caller("bob")
    await house.olga.save(project_id, a="1", b="1")
    await house.olga.save(project_id, 1, a="2")
    draft = await bob.save(project_id, 1, b="2")
    assert (draft.version_number, draft.parent_version) == (3, 2)
    read = await bob.call(draft_pb2.GetDraftRequest(project_id=project_id))
    assert {field.name: field.text for field in read.draft.fields} == {"a": "2", "b": "2"}


async def test_a_removed_field_counts_as_changed(house: House) -> None:
    project_id = await house.project()
    await house.olga.save(project_id, a="1", b="1")
    await house.olga.call(save_of(project_id, {"a": None}, 1))
    await refused(house.olga.save(project_id, 1, a="2"), "STALE_VERSION", **{"changed:a:version": "2"})


async def test_a_base_over_the_head_is_refused(house: House) -> None:
    """It names a version that nobody can have seen."""
    project_id = await house.project()
    await house.olga.save(project_id, a="1")
    async with house.unchanged(project_id):
        await blamed(house.olga.call(save_of(project_id, {"a": "2"}, base_version=2)), "base_version")


async def test_a_refused_save_takes_no_lock(house: House) -> None:
    """A unary save is all or nothing: afterwards the fields are as free as before, at the same fence."""
    project_id = await house.project()
    async with house.unchanged(project_id):
        await refused(house.olga.call(save_of(project_id, {"a": "1", "topology": "{"})), "INVALID_CONTENT")
    async with house.olga.session(project_id) as session:
        assert (await session.acquire("a")).fencing_token == 1
    entries = await house.olga.call(
        audit_pb2.ListEntriesRequest(project_id=project_id, events=["draft_created", "session_opened"])
    )
    assert [entry.WhichOneof("payload") for entry in entries.entries] == ["session_opened"]
