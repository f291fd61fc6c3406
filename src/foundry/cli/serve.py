"""``foundry serve``: run the server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from foundry.cli.exit_codes import ExitCode
from foundry.cli.invocation import invocation
from foundry.cli.options import SEEN_BY_OTHERS, given, given_path
from foundry.cli.output import Failure

#: Options that are not called as their settings are.
_OPTIONS: Final = {
    "tls_cert_file": "--tls-cert",
    "tls_key_file": "--tls-key",
    "token_public_key_file": "--token-public-key",
    "administrators": "--admin",
}


def serve(
    ctx: typer.Context,
    *,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            parser=given_path,
            metavar="PATH",
            show_default=False,
            help="Directory of the database and the development key.",
        ),
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(
            parser=given,
            metavar="URL",
            show_default=False,
            help="Postgres that several servers share, instead of --data-dir; better in FOUNDRY_DATABASE_URL. "
            + SEEN_BY_OTHERS,
        ),
    ] = None,
    redis_url: Annotated[
        str | None,
        typer.Option(
            parser=given,
            metavar="URL",
            show_default=False,
            help="Redis beside it: news spread at once; better in FOUNDRY_REDIS_URL. " + SEEN_BY_OTHERS,
        ),
    ] = None,
    metrics_listen: Annotated[
        str | None,
        typer.Option(parser=given, metavar="HOST:PORT", show_default=False, help="Serve metrics for Prometheus there."),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(
            parser=given,
            metavar="HOST:PORT",
            show_default="127.0.0.1:50051",
            help="Where to listen; port 0 picks a free one.",
        ),
    ] = None,
    dev: Annotated[
        bool, typer.Option("--dev", help="Make a signing key for `foundry token`; for this machine only.")
    ] = False,
    tls_cert: Annotated[
        Path | None,
        typer.Option(
            parser=given_path, metavar="PATH", show_default=False, help="PEM file with the certificate chain."
        ),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option(
            parser=given_path, metavar="PATH", show_default=False, help="PEM file with the certificate's private key."
        ),
    ] = None,
    token_public_key: Annotated[
        Path | None,
        typer.Option(
            parser=given_path,
            metavar="PATH",
            show_default=False,
            help="PEM file with the public key that tokens are checked with.",
        ),
    ] = None,
    token_issuer: Annotated[
        str | None,
        typer.Option(parser=given, metavar="TEXT", show_default=False, help="Issuer (iss) that tokens must name."),
    ] = None,
    token_audience: Annotated[
        str | None,
        typer.Option(
            parser=given, metavar="TEXT", show_default="foundry", help="Audience (aud) that tokens must name."
        ),
    ] = None,
    admin: Annotated[
        list[str] | None,
        typer.Option(parser=given, metavar="SUBJECT", help="Administrator of the installation; repeatable."),
    ] = None,
    allow_plaintext: Annotated[
        bool,
        typer.Option("--allow-plaintext", help="Serve other machines without TLS, behind a proxy."),
    ] = False,
    log_level: Annotated[str | None, typer.Option(show_default="info", help="debug, info, warning or error.")] = None,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log JSON lines.")] = False,
) -> None:
    """Run a server until Ctrl-C or SIGTERM.

    What is not given here is taken from the environment: FOUNDRY_DATA_DIR, FOUNDRY_LISTEN and so on.
    """
    from pydantic import ValidationError

    from foundry.process import run
    from foundry.settings import ServerSettings, StartupError, sentence_of

    options = {
        "data_dir": data_dir,
        "database_url": database_url,
        "redis_url": redis_url,
        "metrics_listen": metrics_listen,
        "listen": listen,
        "dev": dev or None,
        "tls_cert_file": tls_cert,
        "tls_key_file": tls_key,
        "token_public_key_file": token_public_key,
        "token_issuer": token_issuer,
        "token_audience": token_audience,
        "administrators": tuple(admin) if admin else None,
        "allow_plaintext": allow_plaintext or None,
        "log_level": log_level,
        "log_json": log_json or None,
    }
    named = {
        name: _OPTIONS.get(name, f"--{name.replace('_', '-')}") for name, value in options.items() if value is not None
    }
    output = invocation(ctx).output
    try:
        settings = ServerSettings.model_validate({name: options[name] for name in named})
        if settings.missing:
            output.fail(Failure(settings.missing, ExitCode.USAGE, "SETTINGS_INVALID"))
        exit_code = run(settings)
    except ValidationError as error:
        output.fail(Failure(sentence_of(error, named), ExitCode.USAGE, "SETTINGS_INVALID"))
    except StartupError as error:
        output.fail(Failure(str(error), reason="STARTUP_FAILED"))
    raise typer.Exit(exit_code)
