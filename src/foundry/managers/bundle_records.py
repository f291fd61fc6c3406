"""How a bundle writes down what it hands over: RFC 8785 JSON, in ``.jsonl`` files one record a line."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from foundry.content import canonical_json, dump_results, sha256_hex
from foundry.store.log import iso_time

if TYPE_CHECKING:
    from foundry.domain.comment import Comment
    from foundry.domain.draft import Draft
    from foundry.domain.principal import Principal
    from foundry.domain.release import Freeze
    from foundry.domain.run import Run


def freeze_record(freeze: Freeze) -> dict[str, Any]:
    """What was frozen, by whom, when and why."""
    return {
        "content_sha256": freeze.content_sha256,
        "create_time": iso_time(freeze.create_time_us),
        "draft_id": freeze.draft_id,
        "fingerprint": freeze.fingerprint,
        "freeze_id": freeze.freeze_id,
        "reason": freeze.reason,
        "requester": _principal(freeze.requester),
        "sequence": freeze.sequence,
        "version_number": freeze.version_number,
    }


def version_line(draft: Draft) -> bytes:
    """A version with what it changed."""
    return _line(
        {
            "author": _principal(draft.author),
            "changed_fields": [
                {
                    "after_sha256": change.after_sha256,
                    "before_sha256": change.before_sha256,
                    "fencing_token": change.fencing_token,
                    "field": change.field,
                    "kind": change.kind.value,
                    "lock_id": change.lock_id,
                    "media_type": change.media_type,
                    "size": change.size,
                }
                for change in draft.changed_fields
            ],
            "content_sha256": draft.content_sha256,
            "create_time": iso_time(draft.create_time_us),
            "draft_id": draft.draft_id,
            "message": draft.message,
            "origin": draft.origin.value,
            "parent_version": draft.parent_version,
            "sequence": draft.sequence,
            "session_id": draft.session_id,
            "source_version": draft.source_version,
            "version_number": draft.version_number,
        }
    )


def text_line(sequence: int, salt: bytes, text: bytes) -> bytes:
    """The free text of a log entry, with the salt of its commitment."""
    return _line({"salt": salt.hex(), "seq": sequence, "text": json.loads(text)})


def comment_line(comment: Comment) -> bytes:
    """A comment; a tombstone without text."""
    record: dict[str, Any] = {
        "anchor": asdict(comment.anchor) if comment.anchor else None,
        "assignee": comment.assignee,
        "author": _principal(comment.author),
        "closed_at_version": comment.closed_at_version,
        "closer": _principal(comment.closer) if comment.closer else None,
        "comment_id": comment.comment_id,
        "create_time": iso_time(comment.create_time_us),
        "delete_time": iso_time(comment.delete_time_us) if comment.delete_time_us else None,
        "edit_time": iso_time(comment.edit_time_us) if comment.edit_time_us else None,
        "kind": comment.kind.value,
        "run_id": comment.run_id,
        "state": comment.state.value if comment.state else None,
        "text": comment.text,
        "thread_id": comment.thread_id,
        "update_time": iso_time(comment.update_time_us),
    }
    return _line(record)


def run_record(run: Run) -> bytes:
    """A run without its console."""
    results = [asdict(result) for result in run.results]
    return canonical_json(
        {
            "attempt": run.attempt,
            "content_sha256": run.content_sha256,
            "finish_time": iso_time(run.finish_time_us),
            "harness": run.harness,
            "labels": run.labels,
            "line_count": run.line_count,
            "log_sha256": run.log_sha256,
            "results": results,
            "results_sha256": sha256_hex(dump_results(run.results)),
            "run_id": run.run_id,
            "start_time": iso_time(run.start_time_us),
            "starter": _principal(run.starter),
            "state": run.state.value,
            "version_number": run.version_number,
        }
    )


def _line(record: dict[str, Any]) -> bytes:
    return canonical_json(record) + b"\n"


def _principal(principal: Principal) -> dict[str, str]:
    return {**asdict(principal), "kind": principal.kind.value}
