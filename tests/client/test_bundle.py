"""A bundle is there when it is whole, and not before."""

from __future__ import annotations

from pathlib import Path

import pytest

from coreason.foundry.v1 import export_pb2
from foundry.client import Internal
from foundry.client.bundle import bundle_in, incoming

BUNDLE = export_pb2.Bundle(file_name="p1-v3.tar", size=6)


def test_a_whole_bundle_takes_its_place_at_once(tmp_path: Path) -> None:
    target = tmp_path / "release.tar"
    target.write_bytes(b"of yesterday")
    told: list[tuple[int, int]] = []
    with incoming(BUNDLE, target, lambda *there: told.append(there)) as file:
        file.add(b"abc")
        assert target.read_bytes() == b"of yesterday"
        file.add(b"def")
    assert target.read_bytes() == b"abcdef"
    assert told == [(3, 6), (6, 6)]
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("data", [b"", b"abc", b"abcdefg"])
def test_a_bundle_of_another_size_leaves_nothing_behind(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(Internal, match="6 bytes"), incoming(BUNDLE, tmp_path) as file:
        file.add(data)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_transfer_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="broken"), incoming(BUNDLE, tmp_path):
        raise ValueError("broken")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["p1-v3.tar", "../p1-v3.tar", "/etc/p1-v3.tar"])
def test_the_server_names_the_file_but_no_directory(tmp_path: Path, name: str) -> None:
    with incoming(export_pb2.Bundle(file_name=name), tmp_path) as file:
        assert file.target == tmp_path / "p1-v3.tar"


def test_a_transfer_begins_with_what_it_is() -> None:
    assert bundle_in(export_pb2.ExportForPublisherResponse(bundle=BUNDLE)) == BUNDLE
    for first in (None, export_pb2.ExportForPublisherResponse(data=b"abc")):
        with pytest.raises(Internal):
            bundle_in(first)
