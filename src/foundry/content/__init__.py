"""Pure work on content: strict checks, canonical JSON, manifests, diffs. No I/O and no clock.

Everything here takes bytes and gives values; nothing awaits. Calls on content near its size limit take milliseconds
to tens of milliseconds, so callers run them off the event loop.
"""

from foundry.content.anchors import Found, Lines, find_all, split_lines
from foundry.content.canonical import canonical_json, sha256_hex
from foundry.content.check import check_content, default_kind, default_media_type
from foundry.content.compare import Pair, compare_all
from foundry.content.console import dump_line, dump_results, load_lines
from foundry.content.diff import Change, TextDelta, unified_diff
from foundry.content.manifest import canonical_manifest, content_sha256
from foundry.content.model_config import ModelConfig
from foundry.content.payload import agent_payload
from foundry.domain.field import FieldDigest

__all__ = [
    "Change",
    "FieldDigest",
    "Found",
    "Lines",
    "ModelConfig",
    "Pair",
    "TextDelta",
    "agent_payload",
    "canonical_json",
    "canonical_manifest",
    "check_content",
    "compare_all",
    "content_sha256",
    "default_kind",
    "default_media_type",
    "dump_line",
    "dump_results",
    "find_all",
    "load_lines",
    "sha256_hex",
    "split_lines",
    "unified_diff",
]
