"""Every knob, with its unit and its limit."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

_MIB = 1024 * 1024


class StartupError(Exception):
    """The server cannot start; the text is one sentence for the operator."""


class Limits(BaseModel):
    """Bounds on what one client may send or cause."""

    model_config = ConfigDict(frozen=True)

    message_bytes_max: int = Field(4 * _MIB, ge=64 * 1024, le=16 * _MIB)
    #: The transport's own bound: beyond it gRPC ends the call without details.
    transport_bytes_max: int = Field(16 * _MIB, ge=_MIB, le=64 * _MIB)
    text_bytes_max: int = Field(_MIB, ge=1024, le=3 * _MIB)
    data_bytes_max: int = Field(3 * _MIB, ge=1024, le=3 * _MIB)
    #: Content of one GetDraft answer; leaves room for names and hashes in the message.
    answer_bytes_max: int = Field(12 * _MIB, ge=_MIB, le=60 * _MIB)
    changes_per_save_max: int = Field(64, ge=1, le=64)
    #: Of one line of a run's console, in UTF-8.
    line_bytes_max: int = Field(64 * 1024, ge=1024, le=512 * 1024)
    lines_per_message_max: int = Field(5_000, ge=1, le=50_000)
    run_lines_max: int = Field(2_000_000, ge=1_000, le=100_000_000)
    run_bytes_max: int = Field(256 * _MIB, ge=_MIB, le=4_096 * _MIB)
    #: Content of one version as a harness gets it.
    assay_bytes_max: int = Field(8 * _MIB, ge=_MIB, le=12 * _MIB)
    sessions_per_project_max: int = Field(500, ge=1, le=5_000)


class Liveness(BaseModel):
    """How soon things are noticed. The defaults fit together: see ARCHITECTURE.md."""

    model_config = ConfigDict(frozen=True)

    heartbeat_interval_s: float = Field(3.0, gt=0, le=10)
    tick_interval_s: float = Field(2.0, gt=0, le=10)
    #: A session without any message from its client for this long is closed.
    silence_limit_s: float = Field(15.0, gt=0, le=120)
    #: The first message of a stream must come within this time.
    open_limit_s: float = Field(10.0, gt=0, le=60)
    #: Sessions that are opened at once. Others wait in line, for less time than their clients wait for an answer, and
    #: are then told when to come back: a gateway that restarts opens all its streams together.
    openings_max: int = Field(64, ge=1, le=10_000)
    opening_wait_s: float = Field(5.0, gt=0, le=60)
    #: Longest grace a client may ask for.
    grace_s_max: float = Field(30.0, ge=0, le=120)
    #: After a restart, sessions of the process before may be resumed for this long.
    restart_grace_s: float = Field(12.0, ge=0, le=120)
    #: Each server process tells the others that it lives this often, and is given up after this long without.
    replica_renewal_s: float = Field(3.0, gt=0, le=30)
    replica_silence_s: float = Field(10.0, gt=0, le=120)
    #: A lock without save, touch or renewal for this long is released, with a warning before.
    idle_limit_s: float = Field(900.0, gt=0, le=86_400)
    idle_warning_s: float = Field(120.0, ge=0, le=3_600)
    #: A stream whose client takes nothing for this long is ended.
    slow_consumer_limit_s: float = Field(60.0, gt=0, le=600)
    #: Clients of a leaving server come back at a random time within this span.
    drain_s: float = Field(2.0, ge=0, le=60)
    #: Bound on everything that is waited for while the server stops.
    stop_grace_s: float = Field(10.0, gt=0, le=120)


class Fanout(BaseModel):
    """How much of a project's recent events one process keeps for its sessions."""

    model_config = ConfigDict(frozen=True)

    ring_bytes_max: int = Field(4 * _MIB, ge=4 * 1024, le=64 * _MIB)
    ring_frames_max: int = Field(4_096, ge=4, le=65_536)
    #: A client that missed more than this gets a snapshot instead.
    replay_entries_max: int = Field(1_000, ge=1, le=10_000)
    replay_bytes_max: int = Field(_MIB, ge=64 * 1024, le=8 * _MIB)


class Postgres(BaseModel):
    """How one server uses Postgres. No transaction that was left half-done may hold a project for long."""

    model_config = ConfigDict(frozen=True)

    #: Connections for reads; the write lane has one of its own.
    pool_max: int = Field(8, ge=1, le=100)
    #: One connection is opened within this time.
    connect_limit_s: float = Field(5.0, gt=0, le=60)
    statement_limit_s: float = Field(5.0, gt=0, le=60)
    #: How long a transaction waits for a project that another server writes to.
    lock_limit_s: float = Field(1.0, gt=0, le=60)
    #: The database ends a transaction whose server stands still for this long.
    idle_in_transaction_limit_s: float = Field(5.0, gt=0, le=60)
    #: A whole transaction of the lane; beyond it its connection counts as lost.
    transaction_limit_s: float = Field(10.0, gt=0, le=120)


class ServerSettings(BaseSettings):
    """What ``foundry serve`` needs to know. Environment variables begin with ``FOUNDRY_``."""

    model_config = SettingsConfigDict(env_prefix="FOUNDRY_", env_nested_delimiter="__", frozen=True)

    #: Directory of the embedded database and of the development key.
    data_dir: Path | None = None
    #: Postgres, ``postgresql://ROLE:PASSWORD@HOST/DATABASE``, instead of the embedded database: servers share it.
    database_url: SecretStr | None = None
    #: Redis beside it, ``redis://HOST:PORT``: what servers tell each other is told sooner.
    redis_url: SecretStr | None = None
    #: Where Prometheus reads metrics, ``HOST:PORT``; nowhere unless given.
    metrics_listen: str = ""
    listen: str = "127.0.0.1:50051"
    #: One more way in, plaintext, for this machine only: health checks beside a TLS listener.
    local_socket: Path | None = None
    dev: bool = False
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    #: Serve plaintext beyond loopback: only behind a proxy that speaks TLS.
    allow_plaintext: bool = False
    token_public_key_file: Path | None = None
    token_issuer: str = ""
    token_audience: str = "foundry"  # noqa: S105 - whom tokens are for, not a token
    #: Subjects that may read the instance log.
    administrators: tuple[str, ...] = ()
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$")
    log_json: bool = False
    limits: Limits = Limits()
    liveness: Liveness = Liveness()
    fanout: Fanout = Fanout()
    postgres: Postgres = Postgres()

    def check(self) -> None:
        """Refuse combinations that would be unsafe.

        Raises:
            StartupError: A development key beyond loopback, plaintext beyond loopback, no way to verify tokens, or half
                a TLS key pair.
        """
        if self.data_dir is None and (self.dev or self.database_url is None):
            raise StartupError("give --data-dir, or --database-url to share a Postgres with other servers")
        if self.redis_url and self.database_url is None:
            raise StartupError("--redis-url is for servers that share a Postgres: give --database-url too")
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise StartupError("TLS needs both --tls-cert and --tls-key")
        if self.dev and self.token_public_key_file:
            raise StartupError("--dev makes its own signing key; leave --token-public-key out")
        if not self.dev and self.token_public_key_file is None:
            raise StartupError(
                "no token could be verified: give --token-public-key, or --dev to try it on this machine"
            )
        if not self.dev and not self.token_issuer:
            raise StartupError("--token-public-key needs --token-issuer: a token of another issuer must not count")
        if not _is_loopback(self.listen):
            if self.dev:
                raise StartupError("--dev serves loopback addresses and Unix sockets only")
            if self.tls_cert_file is None and not self.allow_plaintext:
                raise StartupError(
                    f"plaintext on {self.listen} would show tokens to the network: give --tls-cert and --tls-key"
                )


def _is_loopback(listen: str) -> bool:
    if listen.startswith("unix:"):
        return True
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
