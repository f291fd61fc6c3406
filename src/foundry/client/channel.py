"""How the client connects: channel options, transport retries, and the credentials of each call."""

from __future__ import annotations

import json
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, Final, TypeAlias

import grpc
from google.protobuf import descriptor_pb2

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

#: A bearer token, without ``Bearer``, or what yields the current one. It is called for every call, and must not block.
Token: TypeAlias = str | Callable[[], str]

_FILES: Final = (audit_pb2, comment_pb2, draft_pb2, export_pb2, lock_pb2, project_pb2, run_pb2, session_pb2)

#: Answers the server may send are larger than the 4 MiB that gRPC allows by default.
_MAX_RECEIVE_BYTES: Final = 32 * 1024 * 1024

_RETRIES: Final = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


def authorization(token: Token) -> tuple[tuple[str, str], ...]:
    """Return the metadata that carries a token.

    Args:
        token: The token or what yields it; asked now.
    """
    return (("authorization", f"Bearer {token() if callable(token) else token}"),)


def credentials_of(tls: bool | grpc.ChannelCredentials) -> grpc.ChannelCredentials | None:  # noqa: FBT001 - see connect
    """Return the credentials of a channel.

    Args:
        tls: False for none, True for the system's certificate authorities, or credentials of one's own.
    """
    if isinstance(tls, bool):
        return grpc.ssl_channel_credentials() if tls else None
    return tls


def target_of(address: str) -> str:
    """Return what gRPC calls a server, or several that share their store: calls go to them in turn.

    Args:
        address: A gRPC target, or ``HOST:PORT,HOST:PORT``; several are IP addresses, all of one family. A name that
            resolves to several addresses, ``dns:///foundry.example.org:50051``, does the same.

    Raises:
        ValueError: Of several, one is no IP address.
    """
    if "," not in address:
        return address
    parts = [part.strip().replace("localhost:", "127.0.0.1:") for part in address.split(",")]
    families = {ip_address(part.rpartition(":")[0].strip("[]")).version for part in parts}
    if len(families) > 1:
        raise ValueError("several servers are named by addresses of one family")
    return f"ipv{families.pop()}:{','.join(parts)}"


def channel_options() -> list[tuple[str, Any]]:
    """Return the options of every channel of the client."""
    return [
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # Without it a dead peer is noticed only after 60 s: the core's keepalive timeout alone ends no connection.
        ("grpc.http2.ping_timeout_ms", 10_000),
        # A session may be quiet for long; by default the core stops to ask after two pings without data.
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 500),
        # Short, since sessions back off by themselves, and a restarted server keeps their locks for 12 s only.
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.max_receive_message_length", _MAX_RECEIVE_BYTES),
        ("grpc.enable_retries", 1),
        ("grpc.service_config", json.dumps(service_config())),
    ]


def service_config() -> dict[str, Any]:
    """Return the gRPC service config: the transport itself repeats calls, but only those without side effects.

    Writes are repeated by the client, which knows that their ``request_id`` makes that safe (``calls.Attempts``).
    """
    reads = [
        {"service": service.full_name, "method": method.name}
        for file in _FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if method.GetOptions().idempotency_level == descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS
    ]
    methods = [{"name": reads, "retryPolicy": _RETRIES}]
    # Of several servers each is as good as the other; a call that one cannot take is repeated at the next.
    return {"loadBalancingConfig": [{"round_robin": {}}], "methodConfig": methods}
