"""``foundry serve``: run the server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from foundry.cli.invocation import invocation
from foundry.cli.output import Failure


def serve(
    ctx: typer.Context,
    *,
    data_dir: Annotated[Path, typer.Option(help="Directory of the database and the development keys.")],
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to listen; port 0 picks a free one.")
    ] = "127.0.0.1:50051",
    dev: Annotated[bool, typer.Option("--dev", help="Trust tokens of `foundry token`; for this machine only.")] = False,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM file with the certificate chain.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file with the certificate's private key.")] = None,
    token_public_key: Annotated[
        Path | None, typer.Option(help="PEM file with the public key that signs the tokens.")
    ] = None,
    token_issuer: Annotated[str, typer.Option(help="Issuer (iss) that tokens must name.")] = "",
    token_audience: Annotated[str, typer.Option(help="Audience (aud) that tokens must name.")] = "",
    admin: Annotated[
        list[str] | None, typer.Option(metavar="SUBJECT", help="Administrator of the installation; repeatable.")
    ] = None,
    allow_plaintext: Annotated[
        bool, typer.Option("--allow-plaintext", help="Serve other machines without TLS, behind a proxy that has it.")
    ] = False,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    log_json: Annotated[bool, typer.Option("--log-json", help="Log JSON lines.")] = False,
) -> None:
    """Run a server until it is told to stop (Ctrl-C or SIGTERM)."""
    from foundry.app import run
    from foundry.settings import ServerSettings, StartupError

    try:
        exit_code = run(
            ServerSettings(
                dev=dev,
                data_dir=data_dir,
                listen=listen,
                tls_cert_file=tls_cert,
                tls_key_file=tls_key,
                token_public_key_file=token_public_key,
                token_issuer=token_issuer,
                token_audience=token_audience,
                administrators=tuple(admin or ()),
                allow_plaintext=allow_plaintext,
                log_level=log_level,
                log_json=log_json,
            )
        )
    except StartupError as error:
        invocation(ctx).output.fail(Failure(str(error), reason="STARTUP_FAILED"))
    raise typer.Exit(exit_code)
