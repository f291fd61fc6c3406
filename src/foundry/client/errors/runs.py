"""Refusals about runs and their consoles."""

# ruff: noqa: N818 - a refusal bears the name of its reason in the contract: RunFinished is RUN_FINISHED

from __future__ import annotations

import grpc

from foundry.client.errors.base import FoundryError


class _Run(FoundryError):
    """What refusals about a run have in common."""

    default_code = grpc.StatusCode.FAILED_PRECONDITION

    @property
    def run_id(self) -> str:
        """The run."""
        return self._text("run_id")


class RunFinished(_Run):
    """The run is finished: it takes no more lines and no other end."""

    @property
    def state(self) -> str:
        """What it came to: PASSED, FAILED, ERRORED or CANCELLED."""
        return self._text("state")


class LineNumberMismatch(_Run):
    """Lines do not go on where the console ends, or the console is not as long as its starter says."""

    @property
    def expected_line(self) -> int:
        """Number of the line that is next; all before it are stored."""
        return self._number("expected_line")

    @property
    def line(self) -> int:
        """Number of the line that came instead."""
        return self._number("line")


class ContentMismatch(FoundryError):
    """The version to test does not have the content that the caller says it has."""

    default_code = grpc.StatusCode.FAILED_PRECONDITION

    @property
    def version(self) -> int:
        """The version."""
        return self._number("version_number")

    @property
    def content_sha256(self) -> str:
        """Hash of its content, lower-case hex."""
        return self._text("content_sha256")
