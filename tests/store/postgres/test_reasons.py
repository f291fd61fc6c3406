"""Why a database cannot be used: said in words, and never with a part of its URL that may be a password."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING

import asyncpg
import pytest

from foundry.store.postgres.reasons import reason
from tests.servers.ports import reserved_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.postgres import PostgresServer

NOT_A_URL = (
    "its URL is not one: postgresql://ROLE:PASSWORD@HOST:PORT/DATABASE, reserved characters in a password "
    "percent-encoded"
)
NO_HOST = "the host in its URL is not known; a reserved character in a password must be percent-encoded"
WRONG = {
    "postgresql://o:hunter2/x@127.0.0.1:1/x": NOT_A_URL,
    "postgresql://o:hunter2#x@127.0.0.1:1/x": NOT_A_URL,
    "postgresql://o:x?hunter2@127.0.0.1:1/x": NOT_A_URL,
    "postgresql://o:hunter2@[::1/x": NOT_A_URL,
    "postgresql://o:hunter2@127.0.0.1:notaport/x": NOT_A_URL,
    "postgresql://o:hunter2@127.0.0.1:1/x?target_session_attrs=hunter2": NOT_A_URL,
    "mysql://o:hunter2@127.0.0.1:1/x": "its URL does not begin with postgresql://",
    "hunter2@127.0.0.1/x": "its URL does not begin with postgresql://",
    "postgresql://o@127.0.0.1:1/x?sslmode=hunter2": (
        "sslmode in its URL is none of disable, allow, prefer, require, verify-ca and verify-full"
    ),
    "postgresql://o:x@hunter2.invalid@127.0.0.1:1/x": NO_HOST,
    "postgresql://o:hunter2@nowhere.invalid/x": NO_HOST,
    "postgresql://o@/x?host=/nowhere/hunter2": "the Unix socket or the file that its URL names is not there",
}


async def why(url: str) -> str:
    """Why there is no connection."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever it is
        await asyncpg.connect(url, timeout=10)
    return reason(caught.value)


@pytest.mark.parametrize(("url", "said"), WRONG.items())
async def test_a_wrong_url_is_not_quoted(url: str, said: str) -> None:
    """It is told what is wrong with it, as far as that is no part of it."""
    assert await why(url) == said


def test_where_nothing_answers() -> None:
    """Host and port, not the tuple of a library; and a port that is none."""
    port = reserved_port()
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as plain:
        told = plain.run(why(f"postgresql://o:hunter2@127.0.0.1:{port}/x"))
        assert told == f"nothing answers at 127.0.0.1:{port}"
        assert plain.run(why("postgresql://o:hunter2@127.0.0.1:99999/x")).startswith("the port in its URL is none; ")
    assert reason(ConnectionRefusedError(111, "Connect call failed ('::1', 5432, 0, 0)")) == (
        "nothing answers at [::1]:5432"
    )
    # As uvloop says it.
    assert reason(ConnectionRefusedError(111, "Connection refused")) == (
        "nothing answers at the host and port of its URL"
    )


async def test_who_does_not_answer_in_time() -> None:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(TimeoutError) as caught:
            await asyncpg.connect(f"postgresql://o@127.0.0.1:{silent.getsockname()[1]}/x", timeout=0.05)
        assert reason(caught.value) == "it does not answer in time"


async def test_what_the_database_itself_says_is_told(postgres: PostgresServer) -> None:
    """It knows no password of ours."""
    assert await why(postgres.owner_url("nowhere")) == 'database "nowhere" does not exist'


async def test_tls_that_fails(postgres: PostgresServer, tmp_path: Path) -> None:
    """By what is wrong with it, without the line of the library's source."""
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed (_ssl.c:1)")
    error.verify_message = "self-signed certificate"
    assert reason(error) == "TLS failed: self-signed certificate"
    missing = f"{postgres.owner_url('postgres')}?sslmode=verify-full&sslrootcert={tmp_path}/none.pem"
    assert await why(missing) == "the Unix socket or the file that its URL names is not there"


def test_everything_has_a_reason() -> None:
    """Also what says nothing itself."""
    assert reason(asyncio.CancelledError()) == "CancelledError"
    assert reason(OSError(113, "No route to host")) == "No route to host"
    assert reason(asyncpg.InterfaceError("")) == "InterfaceError"
