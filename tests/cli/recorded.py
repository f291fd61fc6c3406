"""A busy project as a server would tell of it, for pictures of it."""

from __future__ import annotations

from typing import Any

from coreason.foundry.v1 import audit_pb2, comment_pb2, draft_pb2, lock_pb2, run_pb2
from foundry.cli.picture import Picture
from tests.cli import messages
from tests.cli.messages import ALICE, BOB, before

RUN_ID = "01994b7e-0000-7000-8000-0000000a11ce"
OTHER_RUN_ID = "01994b7e-0000-7000-8000-000000000b0b"
STDOUT, STDERR, EVENT = run_pb2.LOG_STREAM_STDOUT, run_pb2.LOG_STREAM_STDERR, run_pb2.LOG_STREAM_EVENT


def run(**fields: Any) -> run_pb2.Run:
    own = {"run_id": RUN_ID, "harness": "assay 0.4", "starter": ALICE, "start_time": before(seconds=42)}
    return messages.run(**{**own, "line_count": 0, **fields})


def finished(**fields: Any) -> run_pb2.Run:
    return run(**{"state": run_pb2.RUN_STATE_PASSED, "finish_time": before(seconds=12), "line_count": 48, **fields})


def lines(*texts: str, first: int = 1, stream: run_pb2.LogStream.ValueType = STDOUT) -> list[run_pb2.LogLine]:
    return [run_pb2.LogLine(number=number, stream=stream, text=text) for number, text in enumerate(texts, first)]


def log(*texts: str, run_id: str = RUN_ID, first: int = 1, **fields: Any) -> run_pb2.RunLog:
    return run_pb2.RunLog(run_id=run_id, lines=lines(*texts, first=first), **fields)


def comment(number: int = 1, **fields: Any) -> comment_pb2.Comment:
    reply = "parent_comment_id" in fields
    return messages.comment(
        **{
            "comment_id": f"01994b7e-0000-7000-8000-00000000c{number:03}",
            "state": comment_pb2.COMMENT_STATE_UNSPECIFIED if reply else comment_pb2.COMMENT_STATE_OPEN,
            "text": "Should this\nnot be 16?",
            "author": BOB,
            "create_time": before(minutes=20 - number),
            **fields,
        }
    )


def at(field: str, first: int, last: int, **now: Any) -> dict[str, Any]:
    """Return an anchor, and where it is now."""
    resolved = {"state": comment_pb2.ANCHOR_STATE_SHIFTED, "start_line": first, "end_line": last, **now}
    return {
        "anchor": comment_pb2.Anchor(version_number=3, field=field, start_line=first, end_line=last, quote="words"),
        "resolved_anchor": comment_pb2.ResolvedAnchor(version_number=16, **resolved),
    }


def task(number: int, text: str, **fields: Any) -> comment_pb2.Comment:
    return comment(number, **{"kind": comment_pb2.COMMENT_KIND_TASK, "text": text, **fields})


def entries() -> list[audit_pb2.LogEntry]:
    return [
        messages.entry(11, draft_created=audit_pb2.DraftCreated(version_number=15, message="Questions.")),
        messages.entry(12, lock_acquired=audit_pb2.LockAcquired(field="system_prompt", fencing_token=7)),
        messages.entry(13, lock_denied=audit_pb2.LockDenied(field="system_prompt", count=3, subject="bob")),
        messages.entry(
            14,
            actor=BOB,
            reason="she is on\nholiday",
            lock_released=audit_pb2.LockReleased(
                field="system_prompt",
                fencing_token=7,
                release_reason=lock_pb2.LOCK_RELEASE_REASON_FORCED,
                holder="alice",
            ),
        ),
        messages.entry(15, draft_created=audit_pb2.DraftCreated(version_number=16, source_version=14, message="Back.")),
        messages.entry(16),
    ]


def busy(**fields: Any) -> Picture:
    """Return the picture of a project in which a lot goes on."""
    picture = Picture(
        **{
            "project": messages.project(),
            "presence": {
                "a": messages.presence(),
                "b": messages.presence(principal=BOB, focus_field="", activity=""),
                "c": messages.presence(focus_field="", activity="", client_name="foundry watch"),
            },
            "locks": {"system_prompt": messages.lock()},
            "fields": {
                name: draft_pb2.FieldValue(name=name, last_changed_version=version, last_author="bob")
                for version, name in enumerate(("few_shot/eligible", "model_config", "system_prompt", "topology"), 1)
            },
            "is_read": True,
            **fields,
        }
    )
    for entry in entries():
        picture.add(entry)
    for said in (
        comment(1, **at("system_prompt", 9, 10)),
        comment(2, author=ALICE, text="A reply.", parent_comment_id=comment(1).comment_id),
        comment(3, text="Gone?", **at("topology", 3, 3, state=comment_pb2.ANCHOR_STATE_OUTDATED)),
        task(4, "Check the dosage table", assignee="bob"),
        task(5, "Ask legal", state=comment_pb2.COMMENT_STATE_DONE),
    ):
        picture.remarks.take(said)
    picture.remarks.is_read = True
    picture.consoles.know(finished(run_id=OTHER_RUN_ID, harness="pytest", state=run_pb2.RUN_STATE_FAILED))
    picture.consoles.see({RUN_ID: run()})
    picture.consoles.take(log(*(f"reasoning step {number}" for number in range(1, 61))))
    return picture
