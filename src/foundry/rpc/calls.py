"""How a call comes in: bytes to message, token to principal, exception to status, one line in the access log.

gRPC's own deserializers and servers tell clients more than they should: library text for malformed bytes, exception
text for failures. So messages are parsed here, and every handler is wrapped here, one concern after the other:
access log -> error boundary -> authentication -> message -> servicer.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from grpc_status import rpc_status

from foundry.domain.errors import FoundryError, MalformedMessage, MessageTooLarge, Unauthenticated
from foundry.domain.principal import Caller
from foundry.ids import new_id
from foundry.rpc.errors import to_status

if TYPE_CHECKING:
    from foundry.identity import TokenVerifier
    from foundry.managers.denials import Denials

M = TypeVar("M", bound=Message)
Context = grpc.aio.ServicerContext[Any, Any]
#: Answers a request; with bytes when it has the answer encoded already.
Unary = Callable[[Any, Caller], Awaitable[Message | bytes]]
#: Answers a request with many messages.
Answers = Callable[[Any, Caller], AsyncGenerator[Message, None]]
Stream = Callable[[Context, Caller], Awaitable[FoundryError | None]]

_log = structlog.get_logger("foundry.access")
_SCHEME = "bearer "


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that could not be read, and the refusal it gets."""

    error: FoundryError


class Reader(Generic[M]):
    """A deserializer that never raises and never lets a library word its refusal."""

    def __init__(self, kind: type[M], limit_bytes: int) -> None:
        self._kind = kind
        self._limit_bytes = limit_bytes

    def __call__(self, data: bytes) -> M | Unreadable:
        """The message, or why it cannot be read."""
        if len(data) > self._limit_bytes:
            return Unreadable(MessageTooLarge(len(data), self._limit_bytes))
        try:
            return self._kind.FromString(data)
        except DecodeError:
            return Unreadable(MalformedMessage(self._kind.DESCRIPTOR.full_name))


class Calls:
    """Wraps handlers.

    Args:
        limit_bytes: Largest message.
    """

    def __init__(self, verifier: TokenVerifier, denials: Denials, *, limit_bytes: int) -> None:
        self._verifier = verifier
        self._denials = denials
        self._limit_bytes = limit_bytes

    def reader(self, kind: type[M]) -> Reader[M]:
        """A deserializer for messages of a kind."""
        return Reader(kind, self._limit_bytes)

    def unary(self, method: str, request: type[Message], handler: Unary) -> grpc.RpcMethodHandler[Any, Any]:
        """A wrapped unary handler."""

        async def call(message: Message | Unreadable, context: Context) -> Message | bytes:
            began, caller = time.perf_counter(), None
            try:
                caller = self.authenticate(context)
                answer = await handler(readable(message), caller)
            except asyncio.CancelledError:
                _access(method, caller, began, "CANCELLED")
                raise
            except Exception as error:
                status = to_status(error)
                _access(method, caller, began, getattr(error, "reason", "INTERNAL"))
                await context.abort_with_status(rpc_status.to_status(status))
                raise AssertionError from error  # abort raises
            _access(method, caller, began, "OK")
            return answer

        return grpc.unary_unary_rpc_method_handler(
            call, request_deserializer=self.reader(request), response_serializer=_serialize
        )

    def stream(self, method: str, request: type[Message], handler: Stream) -> grpc.RpcMethodHandler[Any, Any]:
        """A wrapped bidirectional handler; it writes bytes and returns how the stream ends."""

        async def call(_requests: object, context: Context) -> None:
            began, caller = time.perf_counter(), None
            ending: BaseException | None
            try:
                caller = self.authenticate(context)
                ending = await handler(context, caller)
            except asyncio.CancelledError:
                _access(method, caller, began, "CANCELLED")
                raise
            except Exception as error:  # noqa: BLE001 - the error boundary
                ending = error
            if ending is None:
                _access(method, caller, began, "OK")
                return
            status = to_status(ending)
            _access(method, caller, began, getattr(ending, "reason", "INTERNAL"))
            await context.abort_with_status(rpc_status.to_status(status))

        return grpc.stream_stream_rpc_method_handler(
            call, request_deserializer=self.reader(request), response_serializer=None
        )

    def server_stream(self, method: str, request: type[Message], handler: Answers) -> grpc.RpcMethodHandler[Any, Any]:
        """A wrapped handler that answers one request with many messages."""

        async def call(message: Message | Unreadable, context: Context) -> None:
            began, caller = time.perf_counter(), None
            try:
                caller = self.authenticate(context)
                async with contextlib.aclosing(handler(readable(message), caller)) as answers:
                    async for answer in answers:
                        await context.write(answer)
            except (asyncio.CancelledError, grpc.aio.BaseError):  # the client is gone
                _access(method, caller, began, "CANCELLED")
                raise
            except Exception as error:  # noqa: BLE001 - the error boundary
                _access(method, caller, began, getattr(error, "reason", "INTERNAL"))
                await context.abort_with_status(rpc_status.to_status(to_status(error)))
            _access(method, caller, began, "OK")

        return grpc.unary_stream_rpc_method_handler(
            call, request_deserializer=self.reader(request), response_serializer=_serialize
        )

    def authenticate(self, context: Context) -> Caller:
        """Who calls, by the bearer token in the metadata.

        Raises:
            Unauthenticated: TOKEN_MISSING, TOKEN_INVALID or TOKEN_EXPIRED; counted in the instance log.
        """
        try:
            verified = self._verifier.verify(_bearer(context))
        except Unauthenticated as error:
            self._denials.authentication_failed(error.reason)
            raise
        return Caller(verified.principal, verified.expire_time_us, peer=context.peer() or "", correlation_id=new_id())

    def refresh(self, caller: Caller, token: str) -> Caller:
        """The same caller with a newer token.

        Raises:
            Unauthenticated: The token is not good, or somebody else's.
        """
        verified = self._verifier.verify(token)
        if not verified.principal.same_actor(caller.principal):
            raise Unauthenticated("TOKEN_INVALID", "the token is somebody else's")
        return replace(caller, token_expire_time_us=verified.expire_time_us)


def readable(message: M | Unreadable) -> M:
    """The message.

    Raises:
        MalformedMessage, MessageTooLarge: It could not be read.
    """
    if isinstance(message, Unreadable):
        raise message.error
    return message


def _bearer(context: Context) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and isinstance(value, str) and value[: len(_SCHEME)].lower() == _SCHEME:
            return value[len(_SCHEME) :].strip()
    raise Unauthenticated("TOKEN_MISSING", "send a bearer token in the authorization metadata")


def _serialize(message: Message | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()


def _access(method: str, caller: Caller | None, began: float, outcome: str) -> None:
    _log.debug(
        "call",
        method=method,
        subject=caller.principal.subject if caller else "",
        correlation_id=caller.correlation_id if caller else "",
        outcome=outcome,
        milliseconds=round((time.perf_counter() - began) * 1000, 3),
    )


def authentication_interceptor(calls: Calls, prefixes: tuple[str, ...]) -> grpc.aio.ServerInterceptor:
    """Demands a token for methods that are not ours, by their name's beginning; ours do so themselves."""
    return _Authentication(calls, prefixes)


class _Authentication(grpc.aio.ServerInterceptor):
    def __init__(self, calls: Calls, prefixes: tuple[str, ...]) -> None:
        self._calls = calls
        self._prefixes = prefixes

    async def intercept_service(self, continuation: Any, details: Any) -> Any:  # noqa: ANN401 - as in gRPC
        handler = await continuation(details)
        if handler is None or not details.method.startswith(self._prefixes):
            return handler
        calls, inner = self._calls, handler.stream_stream

        async def guarded(requests: Any, context: Context) -> Any:  # noqa: ANN401 - as in gRPC
            try:
                calls.authenticate(context)
            except FoundryError as error:
                await context.abort_with_status(rpc_status.to_status(to_status(error)))
            async for answer in inner(requests, context):
                yield answer

        return grpc.stream_stream_rpc_method_handler(guarded, handler.request_deserializer, handler.response_serializer)
