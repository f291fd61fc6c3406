"""The gRPC server: its services, its options, its health."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from coreason.foundry.v1 import (
    audit_pb2,
    comment_pb2,
    draft_pb2,
    export_pb2,
    lock_pb2,
    project_pb2,
    run_pb2,
    session_pb2,
)
from foundry.rpc.calls import authentication_interceptor
from foundry.settings import StartupError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.descriptor import ServiceDescriptor

    from foundry.rpc.calls import Calls, Context
    from foundry.settings import Limits, ServerSettings

SERVICES: tuple[ServiceDescriptor, ...] = (
    project_pb2.DESCRIPTOR.services_by_name["ProjectService"],
    draft_pb2.DESCRIPTOR.services_by_name["DraftService"],
    lock_pb2.DESCRIPTOR.services_by_name["LockService"],
    session_pb2.DESCRIPTOR.services_by_name["SessionService"],
    audit_pb2.DESCRIPTOR.services_by_name["AuditService"],
    comment_pb2.DESCRIPTOR.services_by_name["CommentService"],
    run_pb2.DESCRIPTOR.services_by_name["RunService"],
    export_pb2.DESCRIPTOR.services_by_name["ExportService"],
)
_NAMES = frozenset(service.full_name for service in SERVICES)


def options(limits: Limits) -> list[tuple[str, int]]:
    """Channel arguments. Why each: see ARCHITECTURE.md, Transport."""
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # The one that really closes a connection whose peer does not answer.
        ("grpc.http2.ping_timeout_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.max_receive_message_length", limits.transport_bytes_max),
        ("grpc.max_send_message_length", limits.transport_bytes_max),
        # A gateway that restarts opens all its streams at once; the default cap refuses a third of 5,000.
        ("grpc.server.max_pending_requests", 100_000),
        ("grpc.server.max_pending_requests_hard_limit", 200_000),
    ]


class _GenericOnly:
    """Registers handlers the cheap way: registered methods cost up to a quarter more a call (grpc issue 43092)."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Any) -> None:  # noqa: ANN401 - as in gRPC
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, *_: object) -> None:
        """Leave them out."""


def build_server(calls: Calls, servicers: Mapping[str, object], limits: Limits) -> tuple[grpc.aio.Server, Health]:
    """A server with all services, not started, without a port.

    Args:
        servicers: By name of the service; each must have every method of its descriptor.
    """
    server = grpc.aio.server(
        options=options(limits), interceptors=[authentication_interceptor(calls, ("/grpc.reflection.",))]
    )
    for service in SERVICES:
        servicer = servicers[service.name]
        handlers = {method.name: _handler(calls, service, method, servicer) for method in service.methods}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))
    healthy = Health()
    generic: Any = _GenericOnly(server)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, generic)
    names = [service.full_name for service in SERVICES]
    # Not `enable_server_reflection`: it would take `generic` for a server of threads.
    reflecting: Any = reflection.aio.ReflectionServicer([*names, reflection.SERVICE_NAME, health.SERVICE_NAME])
    add_reflecting: Any = reflection_pb2_grpc.add_ServerReflectionServicer_to_server
    add_reflecting(reflecting, generic)
    return server, healthy


def _handler(calls: Calls, service: ServiceDescriptor, method: Any, servicer: object) -> Any:  # noqa: ANN401
    name = f"/{service.full_name}/{method.name}"
    request, handler = GetMessageClass(method.input_type), getattr(servicer, method.name)
    if method.client_streaming:
        return calls.stream(name, request, handler)
    if method.server_streaming:
        return calls.server_stream(name, request, handler)
    return calls.unary(name, request, handler)


class Health(health_pb2_grpc.HealthServicer):
    """The health service: every service of ours, and the server as a whole, serve or do not.

    Not the one of the library: its watches never end, so a server that leaves would wait for whoever watches.
    """

    def __init__(self) -> None:
        self._serving = self._left = False
        self._changed = asyncio.Event()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> health_pb2.HealthCheckResponse:
        """Say it once."""
        status = self._status(request.service)
        if status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND)
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:
        """Say it again whenever it is another, until the server leaves."""
        told = None
        while True:
            changed, left = self._changed, self._left
            if (status := self._status(request.service)) != told:
                told = status
                await context.write(health_pb2.HealthCheckResponse(status=status))
            if left:
                return
            await changed.wait()

    def _status(self, service: str) -> int:
        if service and service not in _NAMES:
            return health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        return health_pb2.HealthCheckResponse.SERVING if self._serving else health_pb2.HealthCheckResponse.NOT_SERVING

    def change(self, serving: bool) -> None:  # noqa: FBT001 - the one thing there is to say
        """Report everything as serving, or as not."""
        self._serving = serving and not self._left
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def leave(self) -> None:
        """Report, for good, that the server leaves."""
        self._left = True
        self.change(serving=False)


def bind(server: grpc.aio.Server, settings: ServerSettings) -> str:
    """Give a server its addresses: ``listen``, with TLS if there is a key pair, and the local socket if wanted.

    Returns:
        The address that clients connect to; with the port that was found if port 0 was asked for.

    Raises:
        StartupError: An address cannot be had, or the TLS files cannot be read.
    """
    listen, secure = settings.listen, _tls(settings)
    if settings.local_socket:
        try:
            server.add_insecure_port(f"unix:{settings.local_socket}")
        except RuntimeError as error:
            raise StartupError(
                f"cannot listen on {settings.local_socket}, the local socket: is its directory there and writable, and "
                "the path no longer than 107 bytes?"
            ) from error
    try:
        port = server.add_secure_port(listen, secure) if secure else server.add_insecure_port(listen)
    except RuntimeError as error:
        doubt = ", or the TLS key pair bad" if secure else ", or the address not of this machine"
        raise StartupError(f"cannot listen on {listen}: is something else there{doubt}?") from error
    return listen if listen.startswith("unix:") else f"{listen.rpartition(':')[0]}:{port}"


def _tls(settings: ServerSettings) -> grpc.ServerCredentials | None:
    cert_file, key_file = settings.tls_cert_file, settings.tls_key_file
    if not (cert_file and key_file):
        return None
    try:
        return grpc.ssl_server_credentials([(key_file.read_bytes(), cert_file.read_bytes())])
    except OSError as error:
        raise StartupError(f"the TLS key pair cannot be read: {error.filename}: {error.strerror}") from error
