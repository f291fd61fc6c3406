"""Entries of the log become arms of the contract, word for word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.message import Message

from coreason.foundry.v1 import audit_pb2
from foundry.domain.entry import Entry, Event
from foundry.rpc import codec
from tests.managers.history import told

EPOCH = 3


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> dict[Event, list[Entry]]:
    """What the managers really write, by event."""
    by_event: dict[Event, list[Entry]] = {}
    for entry in told(tmp_path_factory.mktemp("told") / "data"):
        by_event.setdefault(entry.new.event, []).append(entry)
    return by_event


def same(message: Message, data: Mapping[str, Any]) -> bool:
    """Whether a message holds exactly the data: what it does not name is unset."""
    return all(_same(field, getattr(message, field.name), data.get(field.name)) for field in message.DESCRIPTOR.fields)


def _same(field: Any, value: Any, wanted: Any) -> bool:
    if field.is_repeated:
        one = _one(field)
        return len(value) == len(wanted) and all(one(got, want) for got, want in zip(value, wanted, strict=True))
    if wanted is None:
        return bool(value == field.default_value or (isinstance(value, Message) and not value.ByteSize()))
    return bool(_one(field)(value, wanted))


def _one(field: Any) -> Any:
    if field.enum_type is not None:
        return lambda value, name: value == field.enum_type.values_by_name[name].number
    if field.message_type is not None:
        return same
    return lambda value, wanted: value == wanted


def test_the_arms_are_the_closed_table() -> None:
    """Every event has its arm and every arm its event, by name, verbatim, for ever."""
    arms = [field.name for field in audit_pb2.LogEntry.DESCRIPTOR.oneofs_by_name["payload"].fields]
    assert sorted(arms) == sorted(event.value for event in Event)


@pytest.mark.parametrize("event", Event)
def test_what_managers_write_is_what_clients_read(entries: dict[Event, list[Entry]], event: Event) -> None:
    """The arm holds the data and the free text of the entry, no more and no less."""
    for entry in entries[event]:
        message = codec.entry(entry, EPOCH)
        assert message.WhichOneof("payload") == event.value
        text = {key: value for key, value in entry.new.text.items() if key != "reason"}
        assert same(getattr(message, event.value), {**entry.new.data, **text})


@pytest.mark.parametrize("event", Event)
def test_every_field_of_an_arm_is_written(entries: dict[Event, list[Entry]], event: Event) -> None:
    """A field that no manager fills would be a promise that nobody keeps."""
    arm = audit_pb2.LogEntry.DESCRIPTOR.fields_by_name[event.value].message_type
    written = {name for entry in entries[event] for name in (*entry.new.data, *entry.new.text)}
    assert arm is not None
    assert {field.name for field in arm.fields} == written - {"reason"}


@pytest.mark.parametrize("event", Event)
def test_what_surrounds_the_payload(entries: dict[Event, list[Entry]], event: Event) -> None:
    """Place, time, actor, session, call, reason and leaf; the chained bytes only where they are asked for."""
    for entry in entries[event]:
        message = codec.entry(entry, EPOCH)
        new = entry.new
        assert (message.position.epoch, message.position.sequence) == (EPOCH, entry.sequence)
        assert message.time.ToMicroseconds() == entry.time_us
        assert (message.actor.subject, message.actor.kind) == (new.actor.subject, codec.KIND[new.actor.kind])
        assert message.actor.display_name == new.actor.display_name
        assert (message.session_id, message.correlation_id) == (new.session_id, new.correlation_id)
        assert (message.reason, message.leaf) == (new.text.get("reason", ""), entry.leaf)
        assert message.entry_bytes == b""
        assert codec.entry(entry, EPOCH, with_bytes=True).entry_bytes == entry.entry_bytes


def test_an_entry_carries_no_content(entries: dict[Event, list[Entry]]) -> None:
    """Ids and hashes, never what people wrote into their fields."""
    for entry in entries[Event.DRAFT_CREATED]:
        sent = codec.entry(entry, EPOCH, with_bytes=True).SerializeToString()
        assert not any(words in sent for words in (b"one", b"two", b"note"))


def test_a_redacted_entry_keeps_its_arm(entries: dict[Event, list[Entry]]) -> None:
    """Without its words it still says what happened."""
    for event, found in entries.items():
        bare = replace(found[0], new=replace(found[0].new, text={}))
        assert codec.entry(bare, EPOCH).WhichOneof("payload") == event.value


def test_the_comparison_notices_differences(entries: dict[Event, list[Entry]]) -> None:
    """The comparison above sees a value that differs, a value too many, and one that is missing."""
    entry = entries[Event.DRAFT_CREATED][0]
    data = {**entry.new.data, "message": entry.new.text["message"]}
    arm = codec.entry(entry, EPOCH).draft_created
    assert same(arm, data)
    changes = entry.new.data["changed_fields"]
    assert isinstance(changes, Sequence)
    wrongs: list[dict[str, Any]] = [{"version_number": 9}, {"changed_fields": []}, {"changed_fields": [*changes] * 2}]
    for wrong in wrongs:
        assert not same(arm, data | wrong)
    assert not same(arm, {key: value for key, value in data.items() if key != "message"})
