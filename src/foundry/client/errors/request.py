"""Refusals of what was asked."""

# ruff: noqa: N818 - a refusal bears the name of its reason in the contract: NotFound is RESOURCE_NOT_FOUND

from __future__ import annotations

import grpc

from foundry.client.errors.base import FoundryError


class NotFound(FoundryError):
    """Something inside a project the caller may read does not exist."""

    default_code = grpc.StatusCode.NOT_FOUND

    @property
    def resource_type(self) -> str:
        """What kind of thing is missing, such as ``draft``."""
        return self._text("resource_type")

    @property
    def resource_id(self) -> str:
        """How it was named."""
        return self._text("resource_id")


class InvalidRequest(FoundryError):
    """The request breaks a documented bound; ``violations`` lists each broken one."""

    default_code = grpc.StatusCode.INVALID_ARGUMENT


class InvalidContent(InvalidRequest):
    """The content of a field is not what its kind demands."""

    @property
    def field(self) -> str:
        """The field."""
        return self._text("field")

    @property
    def problem(self) -> str:
        """What is wrong with its content."""
        return self._text("problem")

    @property
    def line(self) -> int:
        """Line of the problem, from 1; 0 when not known."""
        return self._number("line")

    @property
    def column(self) -> int:
        """Column of the problem in code points, from 1; 0 when not known."""
        return self._number("column")


class RequestIdReused(InvalidRequest):
    """The ``request_id`` was used for a different request."""


class AnchorOutOfRange(FoundryError):
    """The lines of a comment are not lines of the field in that version."""

    default_code = grpc.StatusCode.OUT_OF_RANGE

    @property
    def field(self) -> str:
        """The field."""
        return self._text("field")

    @property
    def version(self) -> int:
        """The version."""
        return self._number("version_number")

    @property
    def start_line(self) -> int:
        """First line that was asked for."""
        return self._number("start_line")

    @property
    def end_line(self) -> int:
        """Last line that was asked for."""
        return self._number("end_line")

    @property
    def line_count(self) -> int:
        """How many lines the field has there."""
        return self._number("line_count")
