"""Pages are read in steps, as far as an answer can carry them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from foundry.managers.paging import read_page


class Shelf:
    """Rows by name, and how many were taken from it."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.rows = [(f"{number:04}", size) for number, size in enumerate(sizes, start=1)]
        self.taken = 0

    async def fetch(self, after: str, most: int) -> list[tuple[str, int]]:
        found = [row for row in self.rows if row[0] > after][:most]
        self.taken += len(found)
        return found

    async def page(self, after: str, limit: int) -> tuple[list[str], bool]:
        rows, more = await read_page(self.fetch, after, limit, key=lambda row: row[0], size=lambda row: row[1])
        return [name for name, _ in rows], more


@pytest.mark.parametrize("limit", [1, 24, 25, 26, 99, 100, 101, 1_000])
@pytest.mark.parametrize("large", [10, 200_000, 5_000_000])
async def test_pages_one_after_the_other_are_all_there_is(limit: int, large: int) -> None:
    """Each once, in order, and the last page says that it is the last, however large rows are."""
    shelf = Shelf([large if number % 7 else 10 for number in range(100)])
    found: list[str] = []
    more = True
    while more:
        page, more = await shelf.page(found[-1] if found else "", limit)
        assert 1 <= len(page) <= limit
        found += page
    assert found == [name for name, _ in shelf.rows]


async def test_nothing_is_a_page_too() -> None:
    assert await Shelf([]).page("", 50) == ([], False)


async def test_large_rows_are_not_read_by_the_thousand() -> None:
    """What an answer could not carry is left in the store."""
    shelf = Shelf([64 * 1024] * 1_000)
    page, more = await shelf.page("", 1_000)
    assert more
    assert len(page) <= shelf.taken <= 100
