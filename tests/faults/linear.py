"""C3: whether one order of the operations on a field explains all their answers.

The search of Wing and Gong with the memory of Lowe: an operation may come next when no other one returned before it was
called; a set of operations done that leads to a state already seen is not tried twice. A field's state is its holder
and its fence. Operations whose outcome is not known stay open to the end of time: they may take effect at any moment,
or never.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tests.faults.history import Operation

#: Nothing that a run of ours records comes near; a search that does is given up and reported, never passed.
STEPS_MAX = 50_000

#: Refusals of a save or a touch that are decided after its lock was found good.
_AFTER_THE_LOCK = {"STALE_VERSION", "INVALID_CONTENT"}


class State(NamedTuple):
    """A field: the session that holds it, empty when none does, and its fence."""

    holder: str = ""
    fence: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """One operation as the model takes it.

    Attributes:
        kind: ``acquire``, ``save`` that gives the lock back, ``release``, ``break``, ``once`` (a save that takes a free
            field and gives it back), ``hold`` and ``free`` (proofs of just that), the refusals ``lost``, ``held`` and
            ``intervened``, ``close`` (of a session) or ``revoke`` (of a grant, by the server).
        certain: Whether it did take effect as it is described; otherwise it may, or may not, and never returns.
        fence: The token it showed or was granted; 0 where that is not known.
        shown: The holder and fence that a refusal named, None when it did not.
        since: The token of a conditional acquire, or 0.
    """

    kind: str
    call_ns: float
    return_ns: float
    session_id: str = ""
    fence: int = 0
    certain: bool = True
    shown: State | None = None
    since: int = 0
    of: Operation | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a search.

    Attributes:
        explained: Whether there is such an order; None when the search was given up.
        longest: The longest order that was found, without what is open.
        stuck: The operations of which none can come next.
    """

    explained: bool | None
    longest: list[Event]
    stuck: list[Event]


def events_of(
    operations: Iterable[Operation], ended: dict[str, float], revoked: Iterable[tuple[str, int]] = ()
) -> list[Event]:
    """What the operations on one field are to the model.

    Args:
        ended: Sessions that may have ended, and from when on.
        revoked: Grants (session, token) that the server says it ended by itself, as idle or because of the project.
    """
    found: list[Event] = []
    takers: set[str] = set()
    for it in operations:
        event = _event(it)
        if event is None:
            continue
        found.append(event)
        if event.kind == "acquire":
            takers.add(event.session_id)
            if not event.certain:
                # A client that has given up waiting gives the lock back when the grant comes after all.
                found.append(Event("release", it.call_ns, inf, event.session_id, certain=False, of=it))
    found += [
        Event("close", ended[session_id], inf, session_id, certain=False)
        for session_id in sorted(takers & ended.keys())
    ]
    found += [Event("revoke", 0.0, inf, session_id, fence, certain=False) for session_id, fence in revoked]
    return found


def _event(it: Operation) -> Event | None:
    """None for what says nothing about the field."""
    kind = it.kind
    if it.outcome == "refused":
        return _refusal(it)
    if kind == "save" and not it.session_id:
        kind = "once" if it.fence or not it.ok else "free"
    elif kind == "touch" or (kind == "save" and not it.frees):
        kind = "hold"
    certain = it.ok and it.result.get("certain", True)
    if not certain and kind == "hold":
        return None
    since = int(it.args.get("if_unchanged_since") or 0)
    # What an operation was granted is in its answer; what it showed stands in its arguments.
    fence = it.fence if it.ok or kind not in {"acquire", "once"} else 0
    return Event(kind, it.call_ns, it.return_ns if certain else inf, it.holder, fence, certain, since=since, of=it)


def _refusal(it: Operation) -> Event | None:
    told = it.result.get("metadata", {})
    current = told.get("current_fencing_token") or told.get("fencing_token")
    if it.reason == "LOCK_LOST" and it.kind in {"save", "touch", "release", "break"}:
        if it.kind != "break" and it.holder != it.session_id:
            return None  # it began in one session and was judged in another
        current = told.get("current_fencing_token")
        shown = State(told.get("session_id", ""), int(current)) if current is not None else None
        session_id = "" if it.kind == "break" else it.session_id
        return Event("lost", it.call_ns, it.return_ns, session_id, it.fence, shown=shown, of=it)
    if it.reason == "LOCK_HELD":
        shown = State(told["session_id"], int(current)) if current and told.get("session_id") else None
        return Event("held", it.call_ns, it.return_ns, it.holder, shown=shown, of=it)
    if it.reason == "LOCK_INTERVENED":
        fence = int(it.args.get("if_unchanged_since") or 0)
        return Event("intervened", it.call_ns, it.return_ns, it.holder, fence, of=it)
    if it.reason in _AFTER_THE_LOCK and it.kind == "save" and it.session_id and it.holder == it.session_id:
        return Event("hold", it.call_ns, it.return_ns, it.session_id, it.fence, of=it)
    return None


def step(state: State, event: Event) -> State | None:
    """The state after an event, None when it cannot happen in this state as it is described.

    An event that is not certain can happen in any state: where it would be refused it changes nothing.
    """
    if not _FITS[event.kind](state, event):
        return None if event.certain else state
    match event.kind:
        case "acquire":
            return state if state.holder else State(event.session_id, state.fence + 1)
        case "once":
            return State("", state.fence + 1)
        case "save" | "release" | "close" | "revoke" | "break":
            return State("", state.fence)
    return state


def _mine(state: State, event: Event) -> bool:
    return bool(state.holder) and state.holder == event.session_id and event.fence in {0, state.fence}


def _can_acquire(state: State, event: Event) -> bool:
    if state.holder:
        return _mine(state, event)  # who holds it already gets the same grant again
    return event.fence in {0, state.fence + 1} and event.since in {0, state.fence}


def _is_lost(state: State, event: Event) -> bool:
    if event.shown is not None:
        return state == event.shown
    return not (state.holder and event.fence == state.fence and event.session_id in {"", state.holder})


def _is_held(state: State, event: Event) -> bool:
    return state.holder not in {"", event.session_id} and event.shown in {None, state}


#: In which states an event can happen as it is described.
_FITS: Final[dict[str, Callable[[State, Event], bool]]] = {
    "acquire": _can_acquire,
    "once": lambda state, event: not state.holder and event.fence in {0, state.fence + 1},
    "save": _mine,
    "release": _mine,
    "hold": _mine,
    "free": lambda state, _: not state.holder,
    "close": lambda state, event: bool(state.holder) and state.holder == event.session_id,
    "revoke": _mine,
    "break": lambda state, event: bool(state.holder) and event.fence == state.fence,
    "lost": _is_lost,
    "held": _is_held,
    "intervened": lambda state, event: not state.holder and state.fence != event.fence,
}


def explain(events: Sequence[Event], *, steps_max: int = STEPS_MAX) -> Verdict:
    """Search for an order that explains the events.

    Args:
        steps_max: After this many steps the search is given up.
    """
    ordered = sorted(events, key=lambda it: (it.call_ns, it.return_ns))
    certain = sum(1 << number for number, it in enumerate(ordered) if it.certain)
    search = _Search(ordered, certain, steps_max)
    found = search.run()
    return Verdict(found, [ordered[number] for number in search.best if ordered[number].certain], search.stuck())


class _Search:
    """Depth first, with a stack of its own: histories are longer than Python recurses.

    What keeps it short: a proof that fits comes at once, since it changes nothing and only gets in the way later;
    fences never fall, so a state past the fence of an event to come is a dead end; and of two ways to the same state
    with the same certain events, the one that used up a part of the other's uncertain ones leaves all that it leaves.
    """

    def __init__(self, events: Sequence[Event], certain: int, steps_max: int) -> None:
        self._events = events
        self._fence_limits = [_fence_limit(it) for it in events]
        self._certain = certain
        self._steps_left = steps_max
        self._seen: dict[tuple[int, State], list[int]] = {}
        self.best: list[int] = []

    def run(self) -> bool | None:
        """Whether there is an order; None when it takes too long to know."""
        order: list[int] = []
        done, first = 0, 0
        # Of each place in the order: what was done before it, from where on to look, and what is left to try there.
        stack = [(done, first, self._next(done, first, State()))]
        while stack:
            done, first, choices = stack[-1]
            if done & self._certain == self._certain:
                self.best = order
                return True
            if not choices:
                stack.pop()
                if order:
                    order.pop()
                continue
            number, after = choices.pop()
            self._steps_left -= 1
            if self._steps_left < 0:
                return None
            done |= 1 << number
            if self._was_here(done, after):
                continue
            while done >> first & 1:
                first += 1
            order.append(number)
            if len(order) > len(self.best):
                self.best = list(order)
            stack.append((done, first, self._next(done, first, after)))
        return False

    def _was_here(self, done: int, state: State) -> bool:
        """Whether this was tried before, with no more of the uncertain events used up; else it is noted."""
        used = done & ~self._certain
        before = self._seen.setdefault((done & self._certain, state), [])
        if any(it & used == it for it in before):
            return True
        before[:] = [it for it in before if it & used != used]
        before.append(used)
        return False

    def _next(self, done: int, first: int, state: State) -> list[tuple[int, State]]:
        """What may come next, the best last: what was called before anything else that is left returned."""
        choices: list[tuple[bool, float, int, State]] = []
        deadline = inf
        for number in range(first, len(self._events)):
            event = self._events[number]
            if event.call_ns > deadline:
                break
            if done >> number & 1:
                continue
            if self._fence_limits[number] < state.fence:
                return []
            deadline = min(deadline, event.return_ns)
            after = step(state, event)
            # An uncertain event that changes nothing may as well come later, so it is not tried now.
            if after is not None and (event.certain or after != state):
                choices.append((event.certain, -event.return_ns, number, after))
        choices = [it for it in choices if self._events[it[2]].call_ns <= deadline]
        for _, _, number, after in choices:
            if after == state:
                return [(number, after)]
        # What is certain and returns first is the likeliest to come first.
        return [(number, after) for _, _, number, after in sorted(choices)]

    def stuck(self) -> list[Event]:
        """The certain events that could come behind the longest order in time, and do not fit."""
        done = sum(1 << number for number in self.best)
        left = [it for number, it in enumerate(self._events) if it.certain and not done >> number & 1]
        deadline = min((it.return_ns for it in left), default=0.0)
        return [it for it in left if it.call_ns <= deadline]


def _fence_limit(event: Event) -> float:
    """The highest fence of a state in which an event can still happen."""
    if event.shown is not None:
        return event.shown.fence
    if not event.certain or not event.fence or event.kind in {"lost", "intervened", "held", "free", "close"}:
        return inf
    return event.fence - 1 if event.kind == "once" else event.fence
