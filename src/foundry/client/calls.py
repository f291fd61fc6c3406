"""Calls as values, and the two ways to make them: one description of each method, an async and a sync client.

A service client describes each of its methods once, as a function from arguments to a ``Unary`` or ``Pages``. The
descriptors ``unary`` and ``pages`` turn it into a method that makes the call the way the instance does: as a coroutine
or an async iterator of an ``AsyncService``, or plainly on a ``SyncService``.
"""

from __future__ import annotations

import asyncio
import functools
import random
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar, cast, overload

import grpc
import grpc.aio
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from foundry.client.channel import Token, authorization
from foundry.client.statuses import from_rpc_error

#: Seconds a call may take, all repetitions included.
TIMEOUT_S: Final = 10.0

_MAX_ATTEMPTS: Final = 4

_P = ParamSpec("_P")
_R = TypeVar("_R", bound=Message)
_T = TypeVar("_T")
_D = TypeVar("_D")


@dataclass(frozen=True, slots=True)
class Unary(Generic[_R, _T]):
    """One call with one answer.

    Attributes:
        request: The request; its type names the RPC, since in the contract every RPC has a request type of its own.
        response: Type of the answer.
        result: What the caller gets of the answer.
        timeout: Seconds it may take, over 0.
    """

    request: Message
    response: type[_R]
    result: Callable[[_R], _T]
    timeout: float

    @property
    def path(self) -> str:
        """The RPC as HTTP/2 names it."""
        return path_of(self.request.DESCRIPTOR)


@dataclass(frozen=True, slots=True)
class Answers(Generic[_R]):
    """One call with a stream of answers.

    Attributes:
        request: The request; its type names the RPC.
        response: Type of an answer.
        timeout: Seconds until its end, over 0; None for as long as it takes.
    """

    request: Message
    response: type[_R]
    timeout: float | None = None

    @property
    def path(self) -> str:
        """The RPC as HTTP/2 names it."""
        return path_of(self.request.DESCRIPTOR)


@dataclass(frozen=True, slots=True)
class Pages(Generic[_R, _T]):
    """A list that comes in pages.

    Attributes:
        request: Request of the first page, with a field ``page_token``.
        response: Type of a page, with a field ``next_page_token``.
        items: What a page holds.
        timeout: Seconds each page may take, over 0.
    """

    request: Message
    response: type[_R]
    items: Callable[[_R], Iterable[_T]]
    timeout: float

    def first(self) -> Unary[_R, _R]:
        """Return the call that reads the first page."""
        return Unary(self.request, self.response, _same, self.timeout)

    def after(self, page: _R) -> Unary[_R, _R] | None:
        """Return the call that reads the page after one, or None after the last."""
        token = cast("Any", page).next_page_token
        if not token:
            return None
        request = type(self.request)()
        request.CopyFrom(self.request)
        cast("Any", request).page_token = token
        return Unary(request, self.response, _same, self.timeout)


class Attempts:
    """The repetitions of one call: again after UNAVAILABLE with a RetryInfo, up to four times, within its timeout.

    Only then: the server says RetryInfo when nothing took effect or the same ``request_id`` tells, and every write
    carries one or is idempotent.
    """

    def __init__(
        self,
        timeout: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._jitter = jitter
        self._deadline = clock() + timeout
        self._made = 0

    def time_left(self) -> float:
        """Return the seconds left for the next attempt, never below 0."""
        return max(0.0, self._deadline - self._clock())

    def delay_after(self, error: grpc.RpcError) -> float:
        """Return the seconds to wait before the next attempt: what the server asked for, and up to half of it more.

        Raises:
            FoundryError: There is no next attempt; it is what the failure means.
        """
        self._made += 1
        refusal = from_rpc_error(error)
        if refusal.code is not grpc.StatusCode.UNAVAILABLE or refusal.retry_after_s is None:
            raise refusal from error
        delay = refusal.retry_after_s * (1 + self._jitter() / 2)
        if self._made >= _MAX_ATTEMPTS or delay >= self.time_left():
            raise refusal from error
        return delay


class AsyncService:
    """Makes calls on an asyncio channel."""

    def __init__(self, channel: grpc.aio.Channel, token: Token) -> None:
        self._channel = channel
        self._token = token

    async def _unary(self, call: Unary[_R, _T]) -> _T:
        attempts = Attempts(call.timeout)
        rpc = _rpc(self._channel, call)
        while True:
            try:
                response: _R = await rpc(
                    call.request, timeout=attempts.time_left(), metadata=authorization(self._token)
                )
            except grpc.RpcError as error:
                delay = attempts.delay_after(error)
            else:
                return call.result(response)
            await asyncio.sleep(delay)

    async def _pages(self, listing: Pages[_R, _T]) -> AsyncIterator[_T]:
        call: Unary[_R, _R] | None = listing.first()
        while call is not None:
            page = await self._unary(call)
            for item in listing.items(page):
                yield item
            call = listing.after(page)

    async def _answers(self, call: Answers[_R]) -> AsyncGenerator[_R, None]:
        running = _streaming_rpc(self._channel, call)(
            call.request, timeout=call.timeout, metadata=authorization(self._token)
        )
        try:
            async for answer in running:
                yield answer
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        finally:
            running.cancel()


class SyncService:
    """Makes calls on a synchronous channel, from any thread."""

    def __init__(self, channel: grpc.Channel, token: Token) -> None:
        self._channel = channel
        self._token = token

    def _unary(self, call: Unary[_R, _T]) -> _T:
        attempts = Attempts(call.timeout)
        rpc = _rpc(self._channel, call)
        while True:
            try:
                response: _R = rpc(call.request, timeout=attempts.time_left(), metadata=authorization(self._token))
            except grpc.RpcError as error:
                delay = attempts.delay_after(error)
            else:
                return call.result(response)
            time.sleep(delay)  # the back-off of a plain, blocking client

    def _pages(self, listing: Pages[_R, _T]) -> Iterator[_T]:
        call: Unary[_R, _R] | None = listing.first()
        while call is not None:
            page = self._unary(call)
            yield from listing.items(page)
            call = listing.after(page)

    def _answers(self, call: Answers[_R]) -> Generator[_R, None, None]:
        running = _streaming_rpc(self._channel, call)(
            call.request, timeout=call.timeout, metadata=authorization(self._token)
        )
        try:
            yield from running
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        finally:
            running.cancel()


class unary(Generic[_P, _T]):  # noqa: N801 - a decorator
    """Make a method of the description of a unary call."""

    def __init__(self, describe: Callable[Concatenate[Any, _P], Unary[Any, _T]]) -> None:
        self._describe = describe
        functools.update_wrapper(cast("Callable[..., Any]", self), describe)

    @overload
    def __get__(self, service: None, owner: type) -> Self: ...
    @overload
    def __get__(self, service: AsyncService, owner: type) -> Callable[_P, Coroutine[Any, Any, _T]]: ...
    @overload
    def __get__(self, service: SyncService, owner: type) -> Callable[_P, _T]: ...

    def __get__(self, service: Any, owner: type) -> Any:
        """Return the method of an instance."""
        if service is None:
            return self
        return _method(self._describe, service, service._unary)  # noqa: SLF001 - this makes its methods


class pages(Generic[_P, _T]):  # noqa: N801 - a decorator
    """Make a method of the description of a paged list."""

    def __init__(self, describe: Callable[Concatenate[Any, _P], Pages[Any, _T]]) -> None:
        self._describe = describe
        functools.update_wrapper(cast("Callable[..., Any]", self), describe)

    @overload
    def __get__(self, service: None, owner: type) -> Self: ...
    @overload
    def __get__(self, service: AsyncService, owner: type) -> Callable[_P, AsyncIterator[_T]]: ...
    @overload
    def __get__(self, service: SyncService, owner: type) -> Callable[_P, Iterator[_T]]: ...

    def __get__(self, service: Any, owner: type) -> Any:
        """Return the method of an instance."""
        if service is None:
            return self
        return _method(self._describe, service, service._pages)  # noqa: SLF001 - this makes its methods


def request_id_or_new(request_id: str | None) -> str:
    """Return the caller's request id, or a new one: each write carries one, so that it may be repeated safely."""
    return request_id or str(uuid.uuid4())


def _method(
    describe: Callable[..., _D], service: AsyncService | SyncService, make: Callable[[_D], _T]
) -> Callable[..., _T]:
    """The method of an instance: describe the call, then make it."""

    @functools.wraps(describe)
    def method(*args: object, **kwargs: object) -> _T:
        return make(describe(service, *args, **kwargs))

    return method


def _rpc(channel: grpc.Channel | grpc.aio.Channel, call: Unary[_R, Any]) -> Callable[..., Any]:
    """What starts a call on a channel of either kind."""
    rpc: Callable[..., Any] = channel.unary_unary(
        call.path,
        request_serializer=type(call.request).SerializeToString,
        response_deserializer=call.response.FromString,
    )
    return rpc


def _streaming_rpc(channel: grpc.Channel | grpc.aio.Channel, call: Answers[Any]) -> Callable[..., Any]:
    """What starts a call with a stream of answers on a channel of either kind."""
    rpc: Callable[..., Any] = channel.unary_stream(
        call.path,
        request_serializer=type(call.request).SerializeToString,
        response_deserializer=call.response.FromString,
    )
    return rpc


@functools.cache
def path_of(request: Descriptor) -> str:
    """Return the RPC that takes a request, as HTTP/2 names it."""
    for service in request.file.services_by_name.values():
        for method in service.methods:
            if method.input_type is request:
                return f"/{service.full_name}/{method.name}"
    raise ValueError(f"{request.full_name} is not the request of an RPC")


def _same(page: _R) -> _R:
    return page
