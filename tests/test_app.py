"""The server as a whole: how it begins, what it leaves behind, and what takes it down."""

from __future__ import annotations

import asyncio
import ipaddress
import multiprocessing
import os
import signal
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from grpc_health.v1 import health_pb2, health_pb2_grpc

from coreason.foundry.v1 import project_pb2, project_pb2_grpc
from foundry.app import ServerFailedError, serve
from foundry.identity import mint_dev_token
from foundry.managers.workers import INLINE_BYTES_MAX
from foundry.settings import ServerSettings, StartupError
from tests.support import PATIENCE_S, RunningServer, running_server

_SERVE = """
import pathlib, sys
from foundry.process import run
from foundry.settings import ServerSettings
sys.exit(run(ServerSettings(data_dir=pathlib.Path(sys.argv[1]), listen="127.0.0.1:0", dev=True)))
"""


def settings(data_dir: Path, **options: object) -> ServerSettings:
    """Development settings with changes."""
    return ServerSettings.model_validate({"data_dir": data_dir, "listen": "127.0.0.1:0", "dev": True, **options})


async def create_project(channel: grpc.aio.Channel, data_dir: Path) -> str:
    """What shows that a server works: a project is created over a channel."""
    metadata = (("authorization", f"Bearer {mint_dev_token(data_dir, subject='alice')}"),)
    stub: Any = project_pb2_grpc.ProjectServiceStub(channel)
    request = project_pb2.CreateProjectRequest(name="P")
    answer: project_pb2.CreateProjectResponse = await stub.CreateProject(request, metadata=metadata, timeout=PATIENCE_S)
    return answer.project.project_id


# --- ways in ---


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "foundry.test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file


async def test_tls(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """With a key pair the server speaks TLS, and nothing else: a plaintext client gets nowhere."""
    cert_file, key_file = certificate
    trust = grpc.ssl_channel_credentials(cert_file.read_bytes())
    options = {"tls_cert_file": cert_file, "tls_key_file": key_file}
    async with serve(settings(tmp_path / "data", **options)) as address:
        async with grpc.aio.secure_channel(address, trust) as channel:
            assert await create_project(channel, tmp_path / "data")
        async with grpc.aio.insecure_channel(address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await create_project(channel, tmp_path / "data")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory with a short name: the address of a Unix socket has at most 108 bytes."""
    with tempfile.TemporaryDirectory(prefix="fdy") as directory:
        yield Path(directory)


async def test_a_unix_socket(tmp_path: Path, short_path: Path) -> None:
    """Listening on a path works as on a port, and the address is what clients connect to."""
    wanted = f"unix:{short_path / 'foundry.sock'}"
    async with serve(settings(tmp_path, listen=wanted)) as address, grpc.aio.insecure_channel(address) as channel:
        assert address == wanted
        assert await create_project(channel, tmp_path)


async def test_a_local_socket_beside_the_port(tmp_path: Path, short_path: Path, certificate: tuple[Path, Path]) -> None:
    """A health check of this machine needs neither the certificate nor a token."""
    cert_file, key_file = certificate
    options = {"tls_cert_file": cert_file, "tls_key_file": key_file, "local_socket": short_path / "local"}
    async with (
        serve(settings(tmp_path / "data", **options)),
        grpc.aio.insecure_channel(f"unix:{short_path / 'local'}") as channel,
    ):
        health: Any = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


# --- what it cannot begin with ---


async def refusal(wanted: ServerSettings) -> str:
    """Why a server does not start, in its sentence."""
    with pytest.raises(StartupError) as caught:
        async with serve(wanted):
            pytest.fail("it started")
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_a_port_in_use_is_a_sentence(tmp_path: Path) -> None:
    """The server that has the port goes on; the other leaves nothing behind and can begin elsewhere at once."""
    async with running_server(tmp_path / "a") as first:
        said = await refusal(settings(tmp_path / "b", listen=first.address))
        assert said.startswith(f"cannot listen on {first.address}: is something else there")
        assert [name for name in open_files() if name.startswith(str(tmp_path / "b"))] == []
        async with running_server(tmp_path / "b") as second:
            for running in (first, second):
                async with running.channel() as channel:
                    assert await create_project(channel, running.data_dir)


async def test_a_local_socket_that_cannot_be_is_named(tmp_path: Path) -> None:
    """It, and not the port beside it."""
    said = await refusal(settings(tmp_path / "data", local_socket=tmp_path / "nowhere" / "x.sock"))
    assert said.startswith(f"cannot listen on {tmp_path / 'nowhere' / 'x.sock'}, the local socket: ")


async def test_a_data_directory_in_use_is_a_sentence(tmp_path: Path) -> None:
    """Two servers on one database would be two truths."""
    async with running_server(tmp_path):
        assert await refusal(settings(tmp_path)) == f"another server uses the data directory {tmp_path}"


async def test_what_cannot_be_read_is_a_sentence(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """A TLS key that is missing or no key, a development key that others can read, a data directory that is a file."""
    cert_file, key_file = certificate
    for bad in (tmp_path / "missing.pem", cert_file):
        said = await refusal(settings(tmp_path / "data", tls_cert_file=cert_file, tls_key_file=bad))
        assert "TLS key pair" in said
    os.chmod(tmp_path / "data" / "dev-signing-key.pem", 0o644)  # noqa: PTH101 - pathlib's is held to block
    assert "can be read by others" in await refusal(settings(tmp_path / "data"))
    assert str(key_file) in await refusal(settings(key_file))


async def test_unsafe_settings_touch_nothing(tmp_path: Path) -> None:
    """They are refused before anything is made or opened."""
    said = await refusal(settings(tmp_path / "data", listen="0.0.0.0:0"))
    assert said == "--dev serves loopback addresses and Unix sockets only"
    assert not (tmp_path / "data").exists()


# --- what it leaves behind ---


def open_files() -> list[str]:
    """What every open descriptor of this process is."""
    return sorted(str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink())


async def some_life(server: RunningServer) -> None:
    """A session, a lock, a save large enough for the worker process, a list read by a thread, a session left open."""
    async with server.connect("alice") as alice:
        project = await alice.projects.create("P")
        session = alice.session(project.project_id)
        await session.__aenter__()
        async with session.lock("system_prompt"):
            pass
        await alice.drafts.save(project.project_id, {"system_prompt": "x" * INLINE_BYTES_MAX}, base_version=0)
        assert {found.name async for found in alice.projects.list()} == {"P"}


async def test_it_leaves_nothing_behind(tmp_path: Path) -> None:
    """After it: no task, no thread, no child process, no open file; and so after the next one."""
    seen = []
    for _ in range(2):
        async with running_server(tmp_path / "data") as server:
            await some_life(server)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert [name for name in open_files() if str(tmp_path) in name] == []
        assert multiprocessing.active_children() == []
        seen.append((threading.active_count(), len(open_files())))
    threads, files = seen[0]
    async with asyncio.timeout(PATIENCE_S):
        # gRPC closes what is left on threads of its own, and tells nobody.
        while threading.active_count() > threads or len(open_files()) > files:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


# --- what takes it down ---


def spoil(data_dir: Path) -> None:
    """Take away what the idle watch looks at."""
    with closing(sqlite3.connect(data_dir / "foundry.sqlite3", isolation_level=None)) as plain:
        plain.execute("DROP TABLE field")


async def test_a_task_that_fails_takes_the_server_down(tmp_path: Path, terminated: asyncio.Event) -> None:
    """A half-alive server would hold locks for ever: it ends itself, closes everything, and says that it failed."""

    async def live() -> None:
        async with running_server(tmp_path, liveness={"idle_limit_s": 1.0}):
            assert not terminated.is_set()
            spoil(tmp_path)
            async with asyncio.timeout(PATIENCE_S):
                await terminated.wait()

    with pytest.raises(ServerFailedError):
        await live()
    assert [name for name in open_files() if str(tmp_path) in name] == []


@pytest.fixture
def gone() -> Iterator[int]:
    """A pipe whose reader is gone: whatever is written to it fails."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize(("fails", "exit_code"), [(False, 0), (True, 1)])
async def test_the_exit_code_tells_how_it_ended(tmp_path: Path, gone: int, fails: bool, exit_code: int) -> None:
    """0 after a clean stop; 1 after a failure, so that whoever supervises the process starts it again.

    Also when nobody reads its log: a log that cannot be written stops nothing and delays nothing.
    """
    environment = os.environ | {"FOUNDRY_LIVENESS__IDLE_LIMIT_S": "1"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _SERVE, str(tmp_path), stdout=asyncio.subprocess.PIPE, stderr=gone, env=environment
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            ready = await process.stdout.readline()
            assert ready.startswith(b"foundry ready on 127.0.0.1:")
            if fails:
                spoil(tmp_path)
            else:
                process.send_signal(signal.SIGTERM)
            assert await process.wait() == exit_code
    finally:
        if process.returncode is None:
            process.kill()
