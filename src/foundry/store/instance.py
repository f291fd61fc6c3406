"""The installation: its facts, made once, and the log that tells of it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, exists, insert, literal, select, union, update

from foundry.domain.entry import INSTANCE_LOG, Event, NewEntry
from foundry.domain.principal import SYSTEM
from foundry.ids import new_id
from foundry.store import log
from foundry.store import tables as t
from foundry.store.errors import StoreError
from foundry.store.flush import flush
from foundry.store.needs import Needs
from foundry.store.shelf import Shelf
from foundry.store.statement import Statement
from foundry.store.unit_of_work import UnitOfWork

if TYPE_CHECKING:
    from foundry.store.database import Connection

_INSTANCE = Statement(select(t.instance.c.name, t.instance.c.value))
_INSERT_FACT = Statement(insert(t.instance))
UPDATE_FACT = Statement(
    update(t.instance).where(t.instance.c.name == bindparam("key")).values(value=bindparam("value"))
)
_LAST_ENTRY = Statement(
    select(t.log_entry.c.log, t.log_entry.c.sequence, t.log_entry.c.leaf, t.log_entry.c.entry)
    .where(t.log_entry.c.log == bindparam("log"))
    .order_by(t.log_entry.c.sequence.desc())
    .limit(1)
)
_HEADS = Statement(select(t.head.c.log, t.head.c.last_sequence, t.head.c.tail))
#: The logs that there must be: one of each project, and that of the installation once it has an identity.
_LOGS = Statement(
    union(
        select(t.project.c.project_id),
        select(literal(INSTANCE_LOG)).where(exists().where(t.instance.c.name == "instance_id")),
    )
)
_ALTERED = "the log {} does not end where its head says; it was altered or cut"
_TAILS_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Facts:
    """What an installation knows of itself; see ``Database``."""

    instance_id: str
    epoch: int
    page_token_key: bytes


def genesis(instance_id: str) -> NewEntry:
    """The first entry of a log: the rules it is written by."""
    return NewEntry(
        Event.LOG_GENESIS,
        SYSTEM,
        {"format": log.FORMAT, "hash": "sha256", "canonical": "rfc8785", "instance_id": instance_id},
    )


async def begin(connection: Connection, now_us: int, revision: str) -> Facts:
    """The facts of the installation, made if there are none; and an entry if the schema is new since the last start.

    Several processes may begin at once if whoever calls lets only one of them in at a time.
    """
    facts: dict[str, str] = dict(await connection.rows(_INSTANCE, {}))
    before = dict(facts)
    if "instance_id" not in facts:
        facts |= {"instance_id": new_id(), "epoch": "1", "page_token_key": secrets.token_hex(32)}
    shelf, needs = Shelf(), Needs(instance_log=True)
    await shelf.load(connection, [needs])
    unit = UnitOfWork(shelf.view(needs), now_us)
    if not unit.has_log(INSTANCE_LOG):
        unit.add_log(INSTANCE_LOG)
        unit.record(genesis(facts["instance_id"]), INSTANCE_LOG)
    if facts.get("schema_logged") != revision:
        facts["schema_logged"] = revision
        data = {"revision": revision, "build": log.BUILD}
        unit.record(NewEntry(Event.MIGRATION_APPLIED, SYSTEM, data), INSTANCE_LOG)
    made = [{"name": name, "value": value} for name, value in facts.items() if name not in before]
    changed = [{"key": name, "value": value} for name, value in facts.items() if before.get(name, value) != value]
    if made:
        await connection.write(_INSERT_FACT, made)
    if changed:
        await connection.write(UPDATE_FACT, changed)
    shelf.keep(unit)
    await flush(connection, unit.writes, shelf.changed_heads())
    return Facts(facts["instance_id"], int(facts["epoch"]), bytes.fromhex(facts["page_token_key"]))


async def check_tails(connection: Connection) -> None:
    """Compare the end of every log with what its head says.

    Raises:
        StoreError: One ends elsewhere, is missing, or belongs to nothing.
    """
    heads: dict[str, tuple[int, bytes]] = {row[0]: row[1:] for row in await connection.rows(_HEADS, {})}
    for name in sorted({row[0] for row in await connection.rows(_LOGS, {})} ^ heads.keys()):
        raise StoreError(_ALTERED.format(name))
    names = sorted(heads)
    for start in range(0, len(names), _TAILS_AT_ONCE):
        some = names[start : start + _TAILS_AT_ONCE]
        rows = await connection.each(_LAST_ENTRY, [{"log": name} for name in some])
        last = {row[0]: row[1:] for row in rows}
        for name in some:
            found = last.get(name)
            if found is None or (found[0], found[1]) != heads[name] or log.leaf_hash(found[2]) != found[1]:
                raise StoreError(_ALTERED.format(name))
