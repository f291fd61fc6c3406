"""What the database itself refuses, whatever the program does: the same promises on SQLite and on Postgres.

How each database is told is in its ``guards``. The server checks at start that they are there, and does not serve
without them.
"""

from __future__ import annotations

from typing import Final

#: Rows of these are never updated or deleted.
APPEND_ONLY: Final = (
    "log_entry",
    "lock_grant",
    "draft",
    "draft_change",
    "content",
    "comment_text",
    "run_log_chunk",
    "freeze",
)
#: Of a frozen project nothing of this may be written. Nothing is added to any version that is saved, frozen or not.
FROZEN: Final = (
    ("draft", "INSERT"),
    ("lock_grant", "INSERT"),
    ("comment", "INSERT"),
    ("comment", "UPDATE"),
    ("run", "INSERT"),
    ("run", "UPDATE"),
    ("run_log_chunk", "INSERT"),
)
