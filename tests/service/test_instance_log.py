"""The log of the installation, and the refusals that are counted rather than logged one by one."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

from coreason.foundry.v1 import audit_pb2, lock_pb2, project_pb2, types_pb2
from tests.service.forms import forms
from tests.service.house import House, housed
from tests.service.logs import check_chain, entries_of, events_of
from tests.service.refusals import refused
from tests.service.saves import save_of
from tests.service.tokens import signed_token
from tests.support import running_server


@contextlib.asynccontextmanager
async def server_on(data_dir: Path) -> AsyncIterator[House]:
    """A server with ``root`` as its administrator. Leaving it writes what was counted."""
    async with running_server(data_dir, administrators=("root",)) as server, housed(server) as house:
        yield house


async def test_the_instance_log_is_for_administrators(tmp_path: Path) -> None:
    """For nobody else, whatever they own; and being one gives no access to a project."""
    async with server_on(tmp_path / "data") as house:
        project_id = await house.project()
        request = audit_pb2.ListEntriesRequest(project_id="instance")
        for subject in ("olga", "Root", "eve"):
            refusal = await refused(house.caller(subject).call(request), "ADMINISTRATOR_REQUIRED")
            assert refusal.metadata == {"action": "read the instance log"}
        root = house.caller("root")
        await root.call(request)
        for log in (project_id, "Instance", "instance ", "instance\0", "%"):
            await refused(root.call(audit_pb2.ListEntriesRequest(project_id=log)), "PROJECT_ACCESS_DENIED")


async def test_nobody_is_an_administrator_unless_the_settings_say_so(tmp_path: Path) -> None:
    async with running_server(tmp_path / "data") as server, housed(server) as house:
        request = audit_pb2.ListEntriesRequest(project_id="instance")
        for subject in ("root", "olga", "administrator"):
            await refused(house.caller(subject).call(request), "ADMINISTRATOR_REQUIRED")


async def test_the_instance_log_tells_of_the_installation(tmp_path: Path) -> None:
    """Its rules, the schema, and every project with who made it; in the same format and chained the same way."""
    async with server_on(tmp_path / "data") as house:
        ids = [await house.project() for _ in range(2)]
        entries = await entries_of(house.caller("root"), "instance")
    check_chain("instance", entries)
    assert events_of(entries) == ["log_genesis", "migration_applied", "project_created", "project_created"]
    assert entries[1].migration_applied.revision
    assert [entry.project_created.project_id for entry in entries[2:]] == ids
    assert {entry.actor.subject for entry in entries[2:]} == {"olga"}


async def test_a_restart_goes_on_with_the_same_logs(tmp_path: Path) -> None:
    """No second genesis, no gap; page tokens outlive it."""
    async with server_on(tmp_path / "data") as house:
        project_id = await house.project()
        page = await house.olga.call(audit_pb2.ListEntriesRequest(project_id=project_id, page_size=2))
    async with server_on(tmp_path / "data") as house:
        request = audit_pb2.ListEntriesRequest(project_id=project_id, page_size=2, page_token=page.next_page_token)
        rest = await house.olga.call(request)
        await house.olga.save(project_id, a="1")
        check_chain("instance", await entries_of(house.caller("root"), "instance"))
        entries = await entries_of(house.olga, project_id)
    check_chain(project_id, entries)
    assert [*page.entries, *rest.entries] == entries[:3]


async def test_calls_without_a_valid_token_are_counted(tmp_path: Path) -> None:
    """By cause, in the instance log, with the window they fell in; never one entry each, and no token in it."""
    secret = "not-a-token-but-secret"
    request = project_pb2.ListProjectsRequest()
    async with server_on(tmp_path / "data") as house:
        expired = signed_token(house.server.data_dir, exp=1)
        for value, reason, times in (
            ("", "TOKEN_MISSING", 3),
            (f"Bearer {secret}", "TOKEN_INVALID", 4),
            (f"Bearer {expired}", "TOKEN_EXPIRED", 2),
        ):
            for _ in range(times):
                await refused(house.bearing(("authorization", value)).call(request), reason)
    async with server_on(tmp_path / "data") as house:
        entries = await entries_of(house.caller("root"), "instance")
    check_chain("instance", entries)
    counted: Counter[str] = Counter()
    failed = [entry for entry in entries if entry.HasField("authentication_failed")]
    for entry in failed:
        counted[entry.authentication_failed.cause] += entry.authentication_failed.count
        assert entry.authentication_failed.window_ms >= 0
        assert json.loads(entry.entry_bytes)["outcome"] == "denied"
        assert (entry.actor.subject, entry.actor.kind) == ("system", types_pb2.PRINCIPAL_KIND_SERVICE)
        assert secret.encode() not in entry.entry_bytes
    assert counted == {"TOKEN_MISSING": 3, "TOKEN_INVALID": 4, "TOKEN_EXPIRED": 2}


async def test_refused_locks_are_counted(tmp_path: Path) -> None:
    """By field and who was refused, in the project's log. Who may not edit at all is not waiting for the lock.

    A save without a session would have taken the locks itself; one that is only tried would not.
    """
    members = dict.fromkeys(("bob", "carol", "dave"), project_pb2.ROLE_EDITOR)
    async with server_on(tmp_path / "data") as house:
        project_id = await house.project(vera=project_pb2.ROLE_VIEWER, **members)
        async with contextlib.AsyncExitStack() as stack:
            holder = await stack.enter_async_context(house.olga.session(project_id))
            for field in "ab":
                await holder.acquire(field)
            for subject, fields in (("bob", "aaab"), ("carol", "a")):
                caller = house.caller(subject)
                session = await stack.enter_async_context(caller.session(project_id))
                for field in fields:
                    wanted = forms(project_id, session_id=session.session_id, field=field)["AcquireLock"]
                    await refused(caller.call(wanted), "LOCK_HELD", field=field, holder="olga")
            dave = house.caller("dave")
            await refused(dave.call(save_of(project_id, {"a": "1", "b": "1", "free": "1"})), "LOCK_HELD", field="a")
            await refused(dave.call(save_of(project_id, {"b": "1"}, validate_only=True)), "LOCK_HELD", field="b")
            acquire = forms(project_id, session_id=holder.session_id, field="a")["AcquireLock"]
            await refused(house.caller("vera").call(acquire), "ROLE_TOO_LOW")
            await house.olga.call(acquire)  # which holds it already
            assert len((await house.olga.call(lock_pb2.ListLocksRequest(project_id=project_id))).locks) == 2
    async with server_on(tmp_path / "data") as house:
        entries = await entries_of(house.olga, project_id)
    check_chain(project_id, entries)
    counted: Counter[tuple[str, str]] = Counter()
    for entry in entries:
        if entry.HasField("lock_denied"):
            counted[entry.lock_denied.subject, entry.lock_denied.field] += entry.lock_denied.count
            assert json.loads(entry.entry_bytes)["outcome"] == "denied"
            assert entry.actor.subject == "system"
    assert counted == {("bob", "a"): 3, ("bob", "b"): 1, ("carol", "a"): 1, ("dave", "a"): 1, ("dave", "b"): 1}
