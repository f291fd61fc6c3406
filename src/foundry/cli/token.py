"""``foundry token``: mint a token for a development server."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from foundry.cli.invocation import invocation
from foundry.cli.output import Failure

TTL_MAX_S: Final = 24 * 3600

_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600}


class Kind(StrEnum):
    """Whom the token speaks for."""

    HUMAN = "human"
    AGENT = "agent"
    SERVICE = "service"


def parse_ttl(text: str) -> int:
    """Return the seconds that ``90s``, ``15m`` or ``1h`` stand for, 1 s to 24 h."""
    match = re.fullmatch(r"([0-9]{1,6})([smh])", text)
    seconds = int(match[1]) * _UNITS_S[match[2]] if match else 0
    if not 1 <= seconds <= TTL_MAX_S:
        raise typer.BadParameter("give a time such as 90s, 15m or 1h, at most 24h", param_hint="--ttl")
    return seconds


def token(
    ctx: typer.Context,
    *,
    data_dir: Annotated[Path, typer.Option(help="Data directory of the development server.")],
    subject: Annotated[str, typer.Option(help="Who the token is for, for example alice.")],
    kind: Annotated[Kind, typer.Option(help="What kind of actor that is.")] = Kind.HUMAN,
    on_behalf_of: Annotated[str, typer.Option(metavar="SUBJECT", help="Person that an agent acts for.")] = "",
    name: Annotated[str, typer.Option(help="Name to show, for example 'Alice A.'.")] = "",
    ttl: Annotated[str, typer.Option(metavar="TIME", help="How long it is valid: 90s, 15m, 1h, at most 24h.")] = "1h",
) -> None:
    """Print a token for a development server (`foundry serve --dev`), and nothing else."""
    ttl_seconds = parse_ttl(ttl)
    from foundry.identity import mint_dev_token
    from foundry.settings import StartupError

    try:
        minted = mint_dev_token(
            data_dir, subject=subject, kind=kind.value, on_behalf_of=on_behalf_of, name=name, ttl_seconds=ttl_seconds
        )
    except StartupError as error:
        invocation(ctx).output.fail(Failure(str(error), reason="TOKEN_NOT_MINTED"))
    output = invocation(ctx).output
    if output.as_json:
        output.line({"token": minted, "subject": subject, "kind": kind.value, "ttl_seconds": ttl_seconds})
    else:
        typer.echo(minted)
