"""Records the events that come to a session, as far as checks need them: entries, snapshots, and how it came in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coreason.foundry.v1.session_event_pb2 import Attachment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from coreason.foundry.v1.session_event_pb2 import SnapshotPage
    from coreason.foundry.v1.session_pb2 import ServerEvent
    from tests.faults.recorder import Recorder


async def listen(events: AsyncIterator[ServerEvent], recorder: Recorder, on_new_session: Callable[[str], None]) -> None:
    """Record events until they end.

    Args:
        events: Of one session of the client library, from before it is entered.
        recorder: Where to.
        on_new_session: Called with the id of a session that took the place of the one before, which is gone.
    """
    session_id = ""
    pages: list[SnapshotPage] = []
    async for event in events:
        match event.WhichOneof("event"):
            case "opened":
                opened = event.opened
                if session_id and session_id != opened.session_id:
                    recorder.note("gone", session_id=session_id)
                    on_new_session(opened.session_id)
                session_id = opened.session_id
                recorder.note("opened", session_id=session_id, attachment=Attachment.Name(opened.attachment))
                pages.clear()
            case "resync" | "going_away" as kind:  # either way the snapshot begins anew
                recorder.note(kind, session_id=session_id)
                pages.clear()
            case "snapshot":
                pages.append(event.snapshot)
                if event.snapshot.last:
                    held = {it.field: [it.session_id, it.fencing_token] for page in pages for it in page.locks}
                    recorder.note("snapshot", session_id=session_id, locks=held)
            case "caught_up":
                place = event.caught_up.position
                recorder.note("caught_up", session_id=session_id, epoch=place.epoch, sequence=place.sequence)
            case "entry":
                place, leaf = event.entry.position, event.entry.leaf.hex()
                arm = event.entry.WhichOneof("payload")
                recorder.note(
                    "entry", session_id=session_id, epoch=place.epoch, sequence=place.sequence, leaf=leaf, event=arm
                )
    if session_id:
        recorder.note("gone", session_id=session_id)
