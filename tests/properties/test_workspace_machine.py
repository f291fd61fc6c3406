"""Any sequence of what sessions can do, against a model: who holds what, what is saved, and what the log tells."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test

from coreason.foundry.v1 import draft_pb2, lock_pb2, session_command_pb2
from foundry.client import FoundryError, NotFound
from tests.properties.model import NAMES, Save, Tab
from tests.properties.session_rules import SessionRules, outcome_of, people, pick, picks
from tests.properties.world import OWNER, PEOPLE, World
from tests.stories.log_replay import Replayed, read_log, verified_replay

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coreason.foundry.v1.draft_pb2 import CreateDraftResponse, RevertDraftResponse

_EXAMPLES = os.environ.get("FOUNDRY_EXAMPLES", "")
SETTINGS = settings(
    max_examples=int(_EXAMPLES or "25"),
    stateful_step_count=40,
    deadline=None,
    # Shrinking may take five minutes; whoever asks for more examples has the time.
    phases=[Phase.explicit, Phase.reuse, Phase.generate, *([Phase.shrink] if _EXAMPLES else [])],
    suppress_health_check=[HealthCheck.too_slow],
)

names = st.sampled_from(NAMES)
texts = st.one_of(st.none(), st.sampled_from(["one", "two"]), st.text(max_size=20))
#: How far the base of a save lies behind the head; beyond the head when negative.
ages = st.sampled_from([0, 0, 0, 0, 1, 2, -1])


class WorkspaceMachine(SessionRules):
    """Sessions of three people in one project of a running server."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._done: list[tuple[Save, Any]] = []
        self._replayed, self._replayed_to = Replayed(), 0

    # --- locks ---

    def _token(self, number: int) -> tuple[str, str, int]:
        """A token as (field, session, token): of a lock that is held, or an older one of it, or any ever issued."""
        held = [(name, session_id, fence) for name, (session_id, fence) in self._model.held.items()]
        if not held or number % 4 == 0:
            return pick(self._model.tokens, number)
        name, session_id, fence = pick(held, number)
        return name, session_id, fence - 1 if number % 4 == 1 and fence > 1 else fence

    @precondition(lambda self: self._tabs("attached"))
    @rule(number=picks, name=names)
    def acquire(self, number: int, name: str) -> None:
        """What people do most of all."""
        self._acquire(pick(self._tabs("attached"), number), name, 0, by_call=False)

    @precondition(lambda self: self._tabs())
    @rule(number=picks, name=names, by_call=st.booleans(), condition=st.sampled_from(["", "now", "before"]))
    def acquire_oddly(self, number: int, name: str, by_call: bool, condition: str) -> None:
        """By any session that ever was, on the stream or by a call, if nobody was there in between."""
        fence = self._model.fields[name].fence
        since = {"": 0, "now": fence, "before": fence + 1 if fence < 2 else fence - 1}[condition]
        self._acquire(pick(self._tabs(), number), name, since, by_call=by_call)

    def _acquire(self, tab: Tab, name: str, since: int, *, by_call: bool) -> None:
        expected = self._model.acquire(tab, name, since)

        async def work() -> tuple[str, lock_pb2.AcquiredLock | None]:
            stream = self._streams.get(tab.session_id)
            if by_call or stream is None:
                locks = self._world.clients[tab.who].locks
                return await outcome_of(locks.acquire(self._project_id, name, tab.session_id, if_unchanged_since=since))
            ask = session_command_pb2.SessionAcquireLock(field=name, if_unchanged_since=since)
            refusal, reply = await outcome_of(stream.ask(acquire_lock=ask))
            return refusal, reply.acquired if reply else None

        refusal, acquired = self._run(work())
        if expected:
            assert refusal in expected
            return
        assert refusal == ""
        assert acquired is not None
        assert acquired.lock.fencing_token == self._model.granted(tab, name)
        shown = (acquired.lock.session_id, acquired.field_version, acquired.head_version)
        assert shown == (tab.session_id, self._model.fields[name].changed, self._model.head)

    @precondition(lambda self: self._model.tokens)
    @rule(number=picks, token=picks)
    def release(self, number: int, token: int) -> None:
        """By the session that got the token, or by any other."""
        name, session_id, fence = self._token(token)
        tab = self._model.tabs[session_id] if number % 4 else pick(self._tabs(), number)
        locks = self._world.clients[tab.who].locks
        refusal, _ = self._run(outcome_of(locks.release(self._project_id, name, tab.session_id, fence)))
        assert refusal == self._model.release(tab, name, fence)

    @precondition(lambda self: self._model.tokens)
    @rule(who=people, token=picks)
    def break_lock(self, who: str, token: int) -> None:
        """Only the grant that was seen, and only by the owner."""
        name, _, fence = self._token(token)
        breaking = self._world.clients[who].locks.break_(self._project_id, name, fence, "stuck")
        refusal, _ = self._run(outcome_of(breaking))
        assert refusal == self._model.break_lock(name, fence, owner=who == OWNER)

    # --- versions ---

    async def _save(self, save: Save, *, on_stream: bool) -> tuple[str, CreateDraftResponse | None]:
        locks = [lock_pb2.LockToken(field=name, fencing_token=token) for name, token in save.tokens.items()]
        options: dict[str, Any] = {"keep_locks": save.keep, "base_version": save.base_version}
        options |= {"request_id": save.request_id, "locks": locks}
        stream = self._streams.get(save.session_id)
        if stream and on_stream:
            changes = [_change(name, text) for name, text in save.changes.items()]
            request = draft_pb2.CreateDraftRequest(changes=changes, **options)
            refusal, reply = await outcome_of(stream.ask(create_draft=request))
            return refusal, reply.saved if reply else None
        drafts = self._world.clients[save.who].drafts
        return await outcome_of(drafts.save(self._project_id, save.changes, session_id=save.session_id, **options))

    def _saved(self, save: Save, *, on_stream: bool) -> None:
        refusal, saved = self._run(self._save(save, on_stream=on_stream))
        self._committed(self._model.save(save), refusal, saved)
        if saved:
            self._done.append((save, saved))

    def _committed(self, expected: str, refusal: str, saved: CreateDraftResponse | RevertDraftResponse | None) -> None:
        if expected not in {"COMMITTED", "NO_CHANGE"}:
            assert refusal == expected
            return
        assert (refusal, saved is not None) == ("", True)
        assert saved is not None
        assert draft_pb2.SaveOutcome.Name(saved.outcome) == f"SAVE_OUTCOME_{expected}"
        assert saved.draft.version_number == self._model.head

    def _session_save(self, tab: Tab, tokens: Mapping[str, int], changes: Mapping[str, str | None], age: int) -> Save:
        base_version = max(0, self._model.head - age)
        return Save(tab.who, tab.session_id, changes, tokens, base_version, age % 2 == 1, str(uuid.uuid4()))

    @precondition(lambda self: self._model.tokens)
    @rule(token=picks, other=st.one_of(st.none(), picks), number=picks, content=st.tuples(texts, texts), age=ages)
    def save(
        self, *, token: int, other: int | None, number: int, content: tuple[str | None, str | None], age: int
    ) -> None:
        """With one or two tokens that were ever issued, by the session that got the first one or by any other."""
        name, session_id, fence = self._token(token)
        tab = self._model.tabs[session_id] if number % 4 else pick(self._tabs(), number)
        tokens, changes = {name: fence}, {name: content[0]}
        if other is not None:
            second, _, its_fence = self._token(other)
            if second != name:
                changes[second] = content[1]
                if other % 5:  # else without a token
                    tokens[second] = its_fence
        self._saved(self._session_save(tab, tokens, changes, age), on_stream=bool(number % 2))

    @precondition(lambda self: self._tabs("attached"))
    @rule(number=picks, name=names, text=texts, keep=st.booleans())
    def write(self, number: int, name: str, text: str | None, keep: bool) -> None:
        """What people do: take the pen, save what is new, keep the pen or give it back."""
        tab = pick(self._tabs("attached"), number)
        self._acquire(tab, name, 0, by_call=False)
        holder, fence = self._model.held[name]
        if holder == tab.session_id:
            save = self._session_save(tab, {name: fence}, {name: text}, int(keep))
            self._saved(replace(save, base_version=self._model.head), on_stream=True)

    @rule(who=people, changes=st.dictionaries(names, texts, min_size=1, max_size=2), age=ages)
    def save_without_a_session(self, who: str, changes: dict[str, str | None], age: int) -> None:
        """It takes the free locks it needs, and is gone."""
        save = Save(who, "", changes, {}, max(0, self._model.head - age), False, str(uuid.uuid4()))
        self._saved(save, on_stream=False)

    @precondition(lambda self: self._done)
    @rule(number=picks, same=st.booleans())
    def repeat(self, number: int, same: bool) -> None:
        """An old request id: the same command gets the first answer, whatever happened since; another is refused."""
        save, first = pick(self._done, number)
        if not same:
            changes = {name: f"not {text}" for name, text in save.changes.items()}
            save = Save(save.who, save.session_id, changes, save.tokens, save.base_version, save.keep, save.request_id)
        refusal, again = self._run(self._save(save, on_stream=bool(number % 2)))
        assert refusal == ("" if same else "REQUEST_ID_REUSED")
        if again:
            assert (again.outcome, again.position) == (first.outcome, first.position)
            if again.outcome == draft_pb2.SAVE_OUTCOME_COMMITTED:
                assert again.draft == first.draft

    @precondition(lambda self: self._model.head > 0)
    @rule(number=picks, version=picks, age=ages, with_locks=st.booleans())
    def revert(self, number: int, version: int, age: int, with_locks: bool) -> None:
        """In a session with the tokens it holds, or in a session of its own length."""
        wanted = 1 + version % (self._model.head + (version % 5 == 4))
        tabs = self._tabs("attached")
        if with_locks and tabs:
            tab = pick(tabs, number)
            held = {name: fence for name, (holder, fence) in self._model.held.items() if holder == tab.session_id}
            save = self._session_save(tab, held, {}, age)
        else:
            save = Save(pick(PEOPLE, number), "", {}, {}, max(0, self._model.head - age), False, str(uuid.uuid4()))
        locks = [lock_pb2.LockToken(field=name, fencing_token=token) for name, token in save.tokens.items()]
        reverting = self._world.clients[save.who].drafts.revert(
            self._project_id,
            wanted,
            base_version=save.base_version,
            session_id=save.session_id,
            locks=locks,
            keep_locks=save.keep,
            request_id=save.request_id,
        )
        refusal, reverted = self._run(outcome_of(reverting))
        self._committed(self._model.revert(save, wanted), refusal, reverted)

    # --- what is lost ---

    @precondition(lambda self: self._world.has_redis)
    @rule()
    def empty_redis(self) -> None:
        """What servers tell each other there is a mirror of what is stored: nothing but time is lost with it."""
        self._world.empty_redis()

    # --- what always holds ---

    @invariant()
    def holders_sessions_and_content_are_the_model_s(self) -> None:
        """Locks, open sessions and the head are what the model says; whoever is closed holds nothing."""
        self._run(self._agrees())

    @invariant()
    def the_log_keeps_every_promise(self) -> None:
        """Fences by one, one holder at a time, every change inside its lock, no lock of a closed session: in order."""
        self._run(self._replay_on())

    async def _replay_on(self) -> None:
        alice, page = self._world.clients[OWNER], 1_000
        async for entry in alice.audit.entries(self._project_id, after_sequence=self._replayed_to, page_size=page):
            self._replayed.apply(entry)
            self._replayed_to = entry.position.sequence
        held = {name: (lock.session_id, lock.fencing_token) for name, lock in self._replayed.held.items()}
        assert held == self._model.held

    async def _agrees(self) -> None:
        alice, model = self._world.clients[OWNER], self._model
        held = {lock.field: (lock.session_id, lock.fencing_token) async for lock in alice.locks.list(self._project_id)}
        assert held == model.held
        sessions = {it.session_id: it.detached async for it in alice.sessions.list(self._project_id)}
        assert sessions.pop(self._watcher.session_id) is False
        assert sessions == {tab.session_id: tab.state == "detached" for tab in model.tabs.values() if tab.open}
        try:
            head = await alice.drafts.get(self._project_id)
        except NotFound:
            head = draft_pb2.Draft()
        assert head.version_number == model.head
        assert {value.name: value.text for value in head.fields} == model.versions[-1]

    def teardown(self) -> None:
        """The log is whole and replays to the same state, and who watched has seen it entry by entry."""
        try:
            self._run(self._log_agrees())
        finally:
            self._run(self._hang_up())

    async def _log_agrees(self) -> None:
        alice, model = self._world.clients[OWNER], self._model
        replayed = await verified_replay(alice, self._project_id)
        assert {name: (lock.session_id, lock.fencing_token) for name, lock in replayed.held.items()} == model.held
        assert replayed.fences == {name: it.fence for name, it in model.fields.items() if it.fence}
        assert replayed.head_version == model.head
        assert replayed.content == {
            name: hashlib.sha256(text.encode()).hexdigest() for name, text in model.versions[-1].items()
        }
        open_now = {tab.session_id for tab in model.tabs.values() if tab.open}
        assert replayed.sessions == {*open_now, self._watcher.session_id}
        await self._watcher_saw_all()

    async def _watcher_saw_all(self) -> None:
        """Ordered, gap-free, unique, and the same as what is stored."""
        entries = await read_log(self._world.clients[OWNER], self._project_id)
        last = entries[-1].position.sequence
        own = self._watcher.opened.position.sequence
        if last > own:
            await self._watcher.until(lambda event: event.entry.position.sequence == last)
        streamed = [event.entry for event in self._watcher.seen if event.HasField("entry")]
        for entry in entries:
            entry.ClearField("entry_bytes")
            entry.ClearField("leaf")
        stored = {entry.position.sequence: entry for entry in entries}
        assert [entry.position.sequence for entry in streamed] == list(range(own + 1, last + 1))
        for entry in streamed:
            entry.ClearField("leaf")
            assert entry == stored[entry.position.sequence]

    async def _hang_up(self) -> None:
        for stream in (*self._streams.values(), self._watcher):
            stream.drop()
            with contextlib.suppress(FoundryError, asyncio.CancelledError):
                await stream.ended()


def _change(name: str, text: str | None) -> draft_pb2.FieldChange:
    if text is None:
        return draft_pb2.FieldChange(field=name, remove=True)
    return draft_pb2.FieldChange(field=name, text=text)


def test_whatever_sessions_do_the_workspace_is_the_model_s(world: World) -> None:
    """Open, leave, lose and resume; acquire, release and break; save, repeat and revert: in any order."""

    class Machine(WorkspaceMachine):
        def __init__(self) -> None:
            super().__init__(world)

    run_state_machine_as_test(Machine, settings=SETTINGS)
