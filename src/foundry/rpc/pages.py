"""Page tokens: where a list goes on, signed together with the arguments of the list."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any, TypeVar

from foundry.domain.errors import PageTokenInvalid
from foundry.rpc.validation import PAGE_SIZE_DEFAULT, PageFields, check

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from google.protobuf.message import Message

#: What a page may weigh: with it an answer stays under the 4 MiB that gRPC clients take by default.
PAGE_BYTES_MAX = 3 * 1024 * 1024

T = TypeVar("T")
M = TypeVar("M", bound="Message")


class Pages:
    """Page tokens: where a list goes on, signed together with the arguments of the list.

    Args:
        key: The installation's key, 32 bytes; tokens outlive a restart and nobody else can make one.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def size(self, requested: int) -> int:
        """How many to list."""
        return check(PageFields, page_size=requested).page_size or PAGE_SIZE_DEFAULT

    @staticmethod
    def fit(found: Sequence[T], size: int, write: Callable[[T], M]) -> list[M]:
        """The messages of a page: at most ``size``; fewer, but one at least, where one answer would be too large."""
        messages: list[M] = []
        left = PAGE_BYTES_MAX
        for item in found[:size]:
            message = write(item)
            left -= message.ByteSize()
            if messages and left < 0:
                break
            messages.append(message)
        return messages

    def issue(self, after: str | int, *arguments: object) -> str:
        """A token that goes on behind ``after``."""
        payload = json.dumps(after).encode()
        return base64.urlsafe_b64encode(self._tag(payload, arguments) + payload).decode().rstrip("=")

    def read(self, token: str, start: str | int, *arguments: object) -> Any:  # noqa: ANN401 - of the type of start
        """Where to go on; ``start`` without a token.

        Raises:
            PageTokenInvalid: Forged, or issued for other arguments.
        """
        if not token:
            return start
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except ValueError:
            raise PageTokenInvalid from None
        tag, payload = raw[:16], raw[16:]
        if not hmac.compare_digest(tag, self._tag(payload, arguments)):
            raise PageTokenInvalid
        return json.loads(payload)

    def _tag(self, payload: bytes, arguments: Sequence[object]) -> bytes:
        bound = json.dumps([payload.decode(errors="replace"), *arguments], sort_keys=True).encode()
        return hmac.new(self._key, bound, hashlib.sha256).digest()[:16]
