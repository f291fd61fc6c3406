"""One invocation of ``foundry``: its global options, and the connection they lead to."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast
from uuid import UUID

import typer

from foundry.cli.exit_codes import ExitCode, exit_code_of
from foundry.cli.output import Failure, Output

if TYPE_CHECKING:
    import grpc

    from foundry.client import Foundry, FoundryError, SyncFoundry

INSTANCE_LOG = "instance"


@dataclass(frozen=True, slots=True)
class Invocation:
    """The global options of one command line.

    Attributes:
        target: Server to call, ``HOST:PORT``, or several that share a store, ``ADDRESS:PORT,ADDRESS:PORT``.
        token: Bearer token, or empty.
        token_file: File with the bearer token, read again for each new connection; wins over ``token``.
        tls: Whether to speak TLS; None for yes, unless the target is this machine.
        ca_file: PEM file with the authorities to trust instead of the system's.
        output: Where results go.
    """

    target: str
    token: str
    token_file: Path | None
    tls: bool | None
    ca_file: Path | None
    output: Output

    @contextmanager
    def foundry(self) -> Iterator[SyncFoundry]:
        """Connect for a few calls; a refusal ends the command with its sentence and exit code."""
        from foundry.client import connect_sync

        self.check_target()
        with self.refusals(), connect_sync(self.target, self.bearer(), tls=self.credentials()) as foundry:
            yield foundry

    @asynccontextmanager
    async def live_foundry(self) -> AsyncIterator[Foundry]:
        """Connect for a session; tokens are read again for every stream."""
        from foundry.client import connect

        self.check_target()
        self.bearer()  # says at once what is missing
        async with connect(self.target, self.bearer, tls=self.credentials()) as foundry:
            yield foundry

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """End the command with a sentence and an exit code when the client refuses."""
        from foundry.client import FoundryError

        try:
            yield
        except FoundryError as error:
            self.output.fail(failure_of(error, self.target))

    def check_target(self) -> None:
        """End the command if the servers to call are named as gRPC cannot use them."""
        from foundry.client.channel import target_of

        try:
            target_of(self.target)
        except ValueError:
            sentence = f"--target: several servers are named by IP addresses of one family: {self.target}"
            self.output.fail(Failure(sentence, ExitCode.USAGE, "SETTINGS_INVALID"))

    def bearer(self) -> str:
        """Return the token, or end the command because there is none."""
        try:
            token = self.token_file.read_text("utf-8").strip() if self.token_file else self.token
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            self.output.fail(_no_token(f"the token file {self.token_file} cannot be read: {why}"))
        if not token:
            self.output.fail(
                _no_token(
                    "there is no token: set FOUNDRY_TOKEN or give --token-file"
                    " (for a development server, `foundry token --data-dir DIR --subject YOU` makes one)"
                )
            )
        return token

    def credentials(self) -> grpc.ChannelCredentials | Literal[False]:
        """Return what to authenticate the server with, or False for plain text."""
        secure = self.tls if self.tls is not None else not is_this_machine(self.target)
        if not secure:
            return False
        import grpc

        try:
            return grpc.ssl_channel_credentials(self.ca_file.read_bytes() if self.ca_file else None)
        except OSError as error:
            self.output.fail(Failure(f"the CA file {self.ca_file} cannot be read: {error.strerror}", ExitCode.USAGE))


def invocation(ctx: typer.Context) -> Invocation:
    """Return the invocation that a command belongs to."""
    return cast("Invocation", ctx.find_root().obj)


@contextmanager
def project_call(ctx: typer.Context, project: str) -> Iterator[tuple[Output, SyncFoundry, str]]:
    """Connect for calls about one project.

    Args:
        ctx: Context of the command.
        project: Its id, or its whole name.

    Yields:
        Where results go, the connection, and the project's id.
    """
    call = invocation(ctx)
    with call.foundry() as foundry:
        yield call.output, foundry, find_project(call, foundry, project)


def find_project(call: Invocation, foundry: SyncFoundry, project: str) -> str:
    """Return the id of a project given by id, or by its whole name if the caller has only one of that name."""
    if project == INSTANCE_LOG or is_project_id(project):
        return project
    found = [
        candidate.project_id
        for candidate in foundry.projects.list(name_contains=project, show_archived=True)
        if candidate.name.casefold() == project.casefold()
    ]
    if len(found) != 1:
        number, advice = (len(found), "give the id") if found else ("none", "`foundry project list` shows them")
        call.output.fail(
            Failure(
                f"of your projects {number} has the name {project!r}: {advice}",
                reason="PROJECT_NAME_AMBIGUOUS" if found else "PROJECT_NAME_UNKNOWN",
                metadata={"name": project},
            )
        )
    return found[0]


def project_id_of(call: Invocation, project: str) -> str:
    """Return the id of a project given by id or by name, connecting only if it has to ask."""
    if is_project_id(project):
        return project
    with call.foundry() as foundry:
        return find_project(call, foundry, project)


def is_project_id(text: str) -> bool:
    """Whether text is a UUID and so the id of a project, not its name."""
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def is_this_machine(target: str) -> bool:
    """Whether a target, one server or several, never leaves this machine, so that plain text is safe."""
    return all(_is_here(part.strip()) for part in target.split(","))


def _is_here(target: str) -> bool:
    if target.startswith("unix:"):
        return True
    address = re.sub(r"^(dns|ipv4|ipv6):(//[^/]*/)?", "", target)
    host = address.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def failure_of(error: FoundryError, target: str) -> Failure:
    """Return how a refusal ends the command."""
    status = error.code.name
    exit_code = exit_code_of(status, error.reason)
    if error.reason or exit_code is not ExitCode.UNAVAILABLE:
        return Failure(error.message or status, exit_code, error.reason, status, error.metadata)
    # What the transport says is long and for its makers; its last words are the cause.
    cause = error.message.rpartition(": ")[2] or "no answer in time"
    metadata = {"target": target, "detail": error.message}
    return Failure(f"no server answers at {target}: {cause}", exit_code, "", status, metadata)


def _no_token(sentence: str) -> Failure:
    return Failure(sentence, ExitCode.DENIED, "TOKEN_MISSING", "UNAUTHENTICATED")
