"""Reading the rows of a page: no more of them at a time than an answer can carry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

#: Rows read in one go, and what an answer can carry about; who asks for a thousand large ones gets fewer.
_ROWS: Final = 25
_BYTES: Final = 3 * 1024 * 1024


async def read_page(
    fetch: Callable[[str, int], Awaitable[list[T]]],
    after: str,
    limit: int,
    *,
    key: Callable[[T], str],
    size: Callable[[T], int],
) -> tuple[list[T], bool]:
    """Rows from behind ``after``, and whether there are more.

    Args:
        fetch: Reads at most so many rows from behind a key.
        limit: Rows at most; fewer come, but one at least, when they are large.
        key: Of a row, to go on behind it.
        size: Of a row, bytes, about.
    """
    rows: list[T] = []
    total = 0
    while len(rows) <= limit:
        wanted = min(_ROWS, limit + 1 - len(rows))
        found = await fetch(after, wanted)
        rows += found
        if len(found) < wanted:
            return rows[:limit], len(rows) > limit
        after = key(found[-1])
        total += sum(map(size, found))
        if total > _BYTES:
            return rows[:limit], len(rows) > limit or bool(await fetch(after, 1))
    return rows[:limit], True
