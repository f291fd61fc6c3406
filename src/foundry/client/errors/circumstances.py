"""Failures that lie in the circumstances."""

# ruff: noqa: N818 - a refusal bears the name of its reason in the contract: Unavailable is UNAVAILABLE

from __future__ import annotations

import grpc

from foundry.client.errors.base import FoundryError


class LimitExceeded(FoundryError):
    """A bound on how many or how much is reached."""

    default_code = grpc.StatusCode.RESOURCE_EXHAUSTED


class DeadlineExceeded(FoundryError):
    """No answer came in time. A write may have happened all the same; its ``request_id`` tells."""

    default_code = grpc.StatusCode.DEADLINE_EXCEEDED


class Unavailable(FoundryError):
    """The server cannot be reached, cannot commit now, or is shutting down."""

    default_code = grpc.StatusCode.UNAVAILABLE

    @property
    def retry_after(self) -> float | None:
        """Seconds after which the server says a retry may succeed, or None."""
        return self.retry_after_s


class Internal(FoundryError):
    """The server failed; ``metadata["error_id"]`` is what its operators need."""

    default_code = grpc.StatusCode.INTERNAL


class LogAltered(FoundryError):
    """A log does not verify.

    Attributes:
        sequence: Sequence number of the first bad entry.
        problem: What is wrong with it.
    """

    default_code = grpc.StatusCode.DATA_LOSS

    def __init__(self, sequence: int, problem: str) -> None:
        super().__init__(message=f"entry {sequence}: {problem}")
        self.sequence = sequence
        self.problem = problem
