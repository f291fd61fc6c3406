"""Refusals of who asks."""

# ruff: noqa: N818 - a refusal bears the name of its reason in the contract: NotYours is NOT_YOURS

from __future__ import annotations

import grpc

from foundry.client.errors.base import FoundryError


class Unauthenticated(FoundryError):
    """TOKEN_MISSING, TOKEN_INVALID or TOKEN_EXPIRED."""

    default_code = grpc.StatusCode.UNAUTHENTICATED


class AccessDenied(FoundryError):
    """The caller may not do this; ``reason`` says what is missing. Also the answer for an unknown project."""

    default_code = grpc.StatusCode.PERMISSION_DENIED


class NotYours(AccessDenied):
    """Only whose it is may do this: the author of a comment, the starter of a run."""

    @property
    def resource_type(self) -> str:
        """What it is: ``comment`` or ``run``."""
        return self._text("resource_type")

    @property
    def resource_id(self) -> str:
        """Its id."""
        return self._text("resource_id")

    @property
    def owner(self) -> str:
        """Subject of whose it is."""
        return self._text("owner")
