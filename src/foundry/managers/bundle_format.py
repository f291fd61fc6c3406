"""The page that tells whoever opens a bundle what is in it, without any foundry at hand."""

from __future__ import annotations

from typing import Final

FORMAT: Final = b"""\
# Format of this bundle: `foundry.bundle/v1`

The released content of one project, and the proof of how it came about. Nothing in it depends on when, where or by whom
it was exported: the same release always gives the same bytes.

Check it with `sha256sum -c SHA256SUMS` in this directory.

JSON here is RFC 8785 (one canonical form); a `.jsonl` file has one such record a line. Hashes are SHA-256 in lower-case
hex, times are RFC 3339 in UTC.

| File | What it is |
| --- | --- |
| `MANIFEST.json` | the freeze, and every file but itself and `SHA256SUMS` with size and hash |
| `SHA256SUMS` | the same for `sha256sum -c`, with `MANIFEST.json` |
| `release.json` | the release statement; its hash is the fingerprint |
| `content.json` | the manifest of the released version; its hash is the content hash of the version |
| `content/` | every field of that version, byte for byte, by name; without `scratchpad` |
| `payload/agent.json` | the version as a test harness gets it; absent when the content is over 8 MiB |
| `history/versions.jsonl` | every version: author, session, lock, fencing token, hashes before and after |
| `audit/log.jsonl` | the log up to the entry `project_frozen`, each line the canonical bytes that are chained |
| `audit/texts.jsonl` | free text of entries with its salt, unless redacted |
| `comments.jsonl` | comments and tasks; deleted ones as tombstones |
| `runs/{run_id}.json` | a test run with its results |
| `runs/{run_id}.log.jsonl` | its console; its hash stands in the entry `run_finished` |

The release statement names project, version and content, and the head of the log before the freeze, which commits to
the whole history.

## Checking the log

For each line of `audit/log.jsonl`: `leaf = SHA-256(0x00 || line without its line feed)`. `seq` counts from 1, and
`prev` is the leaf of the line before, 64 zeros in the first. The entry with the `seq` of `release.json` has the leaf
that stands there. An entry's `text` is `sha256:` and SHA-256(0x02 || salt || RFC 8785 JSON of its text).
"""
