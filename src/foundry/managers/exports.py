"""The ExportManager: a version for the harness, the freeze of a project, and the revision that goes on from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from foundry.content import agent_payload, canonical_json, canonical_manifest, sha256_hex
from foundry.domain.access import (
    Action,
    check_access,
    check_content_open,
    check_frozen,
    check_not_archived,
    check_reason,
)
from foundry.domain.draft import Change, Draft, DraftOrigin, NewContent
from foundry.domain.entry import Event
from foundry.domain.errors import ContentTooLarge, FreezeBlocked, NotFound, VersionMismatch
from foundry.domain.field import SCRATCHPAD
from foundry.domain.lock import Lock, ReleaseReason
from foundry.domain.project import Project
from foundry.domain.release import Blocker, Freeze
from foundry.ids import new_id
from foundry.managers.access import authorize, readable
from foundry.managers.entries import entry
from foundry.managers.holding import release
from foundry.managers.projects import begin_project
from foundry.managers.saving import SaveCommand, write_version
from foundry.managers.versions import named_version
from foundry.store.needs import Needs
from foundry.store.requests import request_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foundry.domain.entry import Value
    from foundry.domain.field import FieldDigest
    from foundry.domain.principal import Caller
    from foundry.managers.workers import Workers
    from foundry.settings import Limits
    from foundry.store.lane import WriteLane
    from foundry.store.repositories import Repositories
    from foundry.store.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class AssayExport:
    """A version as a harness gets it, and the log position of the export."""

    draft: Draft
    manifest: bytes
    payload: bytes
    payload_sha256: str
    sequence: int


@dataclass(frozen=True, slots=True)
class FreezeResult:
    """A freeze, the frozen project, and the locks that were released, by field."""

    freeze: Freeze
    project: Project
    released_locks: tuple[Lock, ...]


class ExportManager:
    """Exports, freezes, starts revisions.

    Args:
        instance_id: Id of the installation, bound into every log's first entry.
        idle_limit_us: See ``LockManager``.
    """

    def __init__(
        self,
        lane: WriteLane,
        store: Repositories,
        workers: Workers,
        *,
        limits: Limits,
        instance_id: str,
        idle_limit_us: int,
    ) -> None:
        self._lane = lane
        self._store = store
        self._workers = workers
        self._limits = limits
        self._instance_id = instance_id
        self._idle_limit_us = idle_limit_us

    # --- the harness ---

    async def for_assay(
        self,
        caller: Caller,
        project_id: str,
        *,
        version_number: int | None = None,
        draft_id: str | None = None,
        include_scratchpad: bool = False,
    ) -> AssayExport:
        """A saved version as the payload of a test; the head when neither number nor id is given.

        Raises:
            NotFound: No such version in this project.
            ContentTooLarge: Its content is more than a payload may carry.
        """
        project, _ = await readable(self._store.projects, caller, project_id)
        draft = await named_version(self._store.drafts, project, version_number=version_number, draft_id=draft_id)
        digests = await self._store.drafts.fields_at(project_id, draft.version_number)
        taken = [digest for digest in digests if include_scratchpad or digest.name != SCRATCHPAD]
        payload = await self._payload(draft, taken)
        sha256 = sha256_hex(payload)

        def decide(unit: UnitOfWork) -> int:
            authorize(unit, caller, Action.READ)
            data: dict[str, Value] = {
                "version_number": draft.version_number,
                "content_sha256": draft.content_sha256,
                "payload_sha256": sha256,
                "include_scratchpad": include_scratchpad,
            }
            return unit.record(entry(Event.ASSAY_EXPORTED, caller, data))

        sequence = await self._lane.submit(Needs(project_id, caller.principal.subject), decide)
        return AssayExport(draft, canonical_manifest(digests), payload, sha256, sequence)

    async def _payload(self, draft: Draft, digests: Sequence[FieldDigest]) -> bytes:
        size = sum(digest.size for digest in digests)
        limit = self._limits.assay_bytes_max
        if size > limit:
            raise ContentTooLarge("fields", size, limit)
        values = [await self._store.drafts.value(draft.project_id, digest) for digest in digests]
        payload = await self._workers.run(size, agent_payload, draft, values)
        # Control characters grow when they are escaped, and an answer has a limit too.
        if len(payload) > self._limits.answer_bytes_max:
            raise ContentTooLarge("payload", len(payload), self._limits.answer_bytes_max)
        return payload

    # --- the freeze ---

    async def freeze(
        self, caller: Caller, project_id: str, expected_version: int, *, reason: str = "", request_id: str = ""
    ) -> FreezeResult:
        """Freeze a project at its newest version, and release every lock, in one transaction.

        Raises:
            VersionMismatch: The newest version is another one.
            FreezeBlocked: Something stands in the way; all of it is named.
            FoundryError: See ``ExportService.RequestFreeze``.
        """
        project, member = await readable(self._store.projects, caller, project_id)
        check_access(Action.FREEZE, caller.principal, member, project)
        draft = await self._store.drafts.get(project_id, expected_version)
        # A run that passed stays one: what is found now holds in the transaction too.
        passed = draft is not None and await self._store.runs.passed(project_id, draft.content_sha256)

        def decide(unit: UnitOfWork) -> FreezeResult | None:
            project, _ = authorize(unit, caller, Action.FREEZE)
            if (done := unit.replay(FreezeResult)) is not None:
                return done
            check_content_open(project)
            check_reason(project, reason)
            if project.head_version and project.head_version != expected_version:
                raise VersionMismatch(expected_version, project.head_version)
            if blockers := _blockers(unit, passed=passed):
                raise FreezeBlocked(blockers)
            if draft is None:  # it was saved since it was looked for
                return None
            return unit.remember(_freeze(unit, caller, draft, reason=reason, request_id=request_id))

        request = request_key(caller.principal, "RequestFreeze", request_id, [project_id, expected_version, reason])
        needs = Needs(project_id, caller.principal.subject, all_fields=True, running_runs=True, request=request)
        frozen = await self._lane.submit(needs, decide)
        if frozen is None:
            return await self.freeze(caller, project_id, expected_version, reason=reason, request_id=request_id)
        return frozen

    async def get_freeze(self, caller: Caller, project_id: str) -> Freeze:
        """The freeze of a project.

        Raises:
            NotFound: It is not frozen.
        """
        await readable(self._store.projects, caller, project_id)
        freeze = await self._store.releases.get(project_id)
        if freeze is None:
            raise NotFound("freeze", project_id)
        return freeze

    # --- the revision ---

    async def start_revision(
        self, caller: Caller, project_id: str, *, name: str = "", reason: str = "", request_id: str = ""
    ) -> Project:
        """Make a new project whose version 1 is the released content.

        Raises:
            NotFrozen: There is no release to go on from.
            FoundryError: See ``ExportService.StartRevision``.
        """
        project, member = await readable(self._store.projects, caller, project_id)
        check_access(Action.REVISE, caller.principal, member, project)
        freeze = await release_of(self._store, project)
        digests = await self._store.drafts.fields_at(project_id, freeze.version_number)
        revision_id = new_id()

        def decide(unit: UnitOfWork) -> Project:
            source, member = unit.source
            check_access(Action.REVISE, caller.principal, member, source)
            if (done := unit.replay(Project)) is not None:
                return done
            check_frozen(source)
            check_not_archived(source)
            check_reason(source, reason)
            revision = Project(
                project_id=revision_id,
                name=name or source.name,
                description=source.description,
                labels=source.labels,
                policy=source.policy,
                creator=caller.principal,
                create_time_us=unit.now_us,
                update_time_us=unit.now_us,
                revision_of_project_id=project_id,
                revision_of_fingerprint=freeze.fingerprint,
            )
            begin_project(unit, caller, revision, instance_id=self._instance_id, request_id=request_id)
            draft = self._import(unit, caller, revision, freeze, digests)
            data: dict[str, Value] = {
                "revision_project_id": revision_id,
                "version_number": freeze.version_number,
                "fingerprint": freeze.fingerprint,
            }
            started = entry(Event.REVISION_STARTED, caller, data, reason=reason, request_id=request_id)
            unit.record(started, project_id)
            return unit.remember(_at(revision, draft))

        needs = Needs(
            revision_id,
            caller.principal.subject,
            instance_log=True,
            source=project_id,
            request=request_key(caller.principal, "StartRevision", request_id, [project_id, name, reason]),
        )
        return await self._lane.submit(needs, decide)

    def _import(
        self, unit: UnitOfWork, caller: Caller, revision: Project, freeze: Freeze, digests: Sequence[FieldDigest]
    ) -> Draft | None:
        """Save the released content as version 1: under locks, like every version."""
        for digest in digests:
            unit.copy_content(freeze.project_id, digest.sha256)
        changes = [
            Change(digest.name, NewContent(digest.kind, digest.media_type, digest.sha256, digest.size))
            for digest in digests
        ]
        command = SaveCommand(
            project_id=revision.project_id,
            changes=tuple(changes),
            base_version=0,
            tokens={},
            session_id="",
            keep_locks=False,
            message=f"Revision of {freeze.project_id}, version {freeze.version_number}",
            reason="",
            request_id="",
            validate_only=False,
            covers=None,
            origin=DraftOrigin.IMPORT,
            source_version=freeze.version_number,
        )
        return write_version(unit, caller, command, changes, idle_limit_us=self._idle_limit_us).draft


async def release_of(store: Repositories, project: Project) -> Freeze:
    """The freeze of a project that is to be handed over, or gone on from.

    Raises:
        NotFrozen: There is none.
    """
    check_frozen(project)
    freeze = await store.releases.get(project.project_id)
    if freeze is None:
        raise LookupError(f"the freeze of {project.project_id} is missing")
    return freeze


def release_statement(freeze: Freeze) -> bytes:
    """What is released, as canonical JSON; its SHA-256 is the fingerprint."""
    return canonical_json(
        {
            "content_sha256": freeze.content_sha256,
            "draft_id": freeze.draft_id,
            "log": {"leaf": freeze.log_leaf, "sequence": freeze.log_sequence},
            "project_id": freeze.project_id,
            "schema": "foundry.release/v1",
            "version_number": freeze.version_number,
        }
    )


def _blockers(unit: UnitOfWork, *, passed: bool) -> list[tuple[str, str, str]]:
    project = unit.project
    if not project.head_version:
        return [(Blocker.NO_VERSION, "versions", "nothing was ever saved")]
    blockers: list[tuple[str, str, str]] = []
    if project.policy.require_evidence and not passed:
        blockers.append((Blocker.EVIDENCE_MISSING, "runs", "policy wants a passed run of this content"))
    if wanted := project.policy.min_approvals:
        text = f"policy wants {wanted} signatures, which cannot be given yet"
        blockers.append((Blocker.APPROVALS_MISSING, "policy", text))
    # Last: there may be more of them than a status has room for.
    blockers += [
        (Blocker.RUN_RUNNING, f"runs/{run.run_id}", f"run {run.run_id} is not finished") for run in unit.running_runs
    ]
    return blockers


def _freeze(unit: UnitOfWork, caller: Caller, draft: Draft, *, reason: str, request_id: str) -> FreezeResult:
    log_sequence, leaf = unit.tail()
    freeze = Freeze(
        freeze_id=new_id(),
        project_id=draft.project_id,
        version_number=draft.version_number,
        draft_id=draft.draft_id,
        content_sha256=draft.content_sha256,
        fingerprint="",
        requester=caller.principal,
        create_time_us=unit.now_us,
        reason=reason,
        log_sequence=log_sequence,
        log_leaf=leaf.hex(),
        sequence=0,
    )
    freeze = replace(freeze, fingerprint=sha256_hex(release_statement(freeze)))
    data: dict[str, Value] = {
        "freeze_id": freeze.freeze_id,
        "version_number": freeze.version_number,
        "fingerprint": freeze.fingerprint,
    }
    unit.record(entry(Event.FREEZE_REQUESTED, caller, data, reason=reason, request_id=request_id))
    released = [state.lock for state in unit.fields if state.lock]
    for lock in released:
        release(unit, caller, lock, ReleaseReason.FREEZE)
    frozen = {**data, "content_sha256": freeze.content_sha256}
    sequence = unit.record(entry(Event.PROJECT_FROZEN, caller, frozen, reason=reason, request_id=request_id))
    freeze = replace(freeze, sequence=sequence)
    unit.add_freeze(freeze)
    return FreezeResult(freeze, unit.project, tuple(released))


def _at(project: Project, draft: Draft | None) -> Project:
    """A project with its new head."""
    if draft is None:
        return project
    return replace(project, head_version=draft.version_number, current_draft_id=draft.draft_id)
