"""``foundry health``: is the server there and serving?"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text

from foundry.cli.exit_codes import ExitCode
from foundry.cli.invocation import Invocation, invocation
from foundry.cli.output import Failure


def health(
    ctx: typer.Context,
    *,
    timeout: Annotated[float, typer.Option(min=0.1, max=60, help="How long to wait for an answer, seconds.")] = 3.0,
) -> None:
    """Ask whether the server is serving; needs no token."""
    call = invocation(ctx)
    status = _check(call, timeout)
    if status != "SERVING":
        call.output.fail(
            Failure(
                f"the server at {call.target} says {status}",
                ExitCode.UNAVAILABLE,
                "NOT_SERVING",
                metadata={"target": call.target, "status": status},
            )
        )
    call.output.one(
        {"target": call.target, "status": status}, lambda: Text.assemble((status, "green"), f"  {call.target}")
    )


def _check(call: Invocation, timeout_s: float) -> str:
    """Return the name of the status that grpc.health.v1 answers for the whole server."""
    import grpc
    from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
    from grpc_health.v1.health_pb2_grpc import HealthStub

    from foundry.client.channel import target_of

    credentials = call.credentials()
    call.check_target()
    target = target_of(call.target)
    channel = grpc.secure_channel(target, credentials) if credentials else grpc.insecure_channel(target)
    with channel:
        try:
            stub: Any = HealthStub(channel)  # its stubs know no methods
            answer = stub.Check(HealthCheckRequest(), timeout=timeout_s)
        except grpc.RpcError as error:
            status = error.code().name
            call.output.fail(
                Failure(
                    f"no server answers at {call.target}",
                    ExitCode.UNAVAILABLE,
                    "NOT_SERVING",
                    status,
                    {"target": call.target},
                )
            )
    status = HealthCheckResponse.ServingStatus.Name(answer.status)
    return str(status)
