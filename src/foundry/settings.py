"""Every knob, with its unit and its limit."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import ValidationError

_MIB = 1024 * 1024
#: A name that no setting has is a mistake and not a wish.
_GROUP: Final = ConfigDict(frozen=True, extra="forbid")
_PORT: Final = re.compile(r":(?P<port>[0-9]{1,5})")
_PORT_MAX: Final = 65_535
_UNREADABLE: Final = re.compile('^Value error, error parsing value for field "(?P<name>[a-z_]+)"')


class StartupError(Exception):
    """The server cannot start; the text is one sentence for the operator."""


class Limits(BaseModel):
    """Bounds on what one client may send or cause."""

    model_config = _GROUP

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

    model_config = _GROUP

    #: Clients trust their locks for 9 s after sending the last heartbeat that was answered: two in that time.
    heartbeat_interval_s: float = Field(3.0, gt=0, le=4)
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
    #: Sessions of a process that was stopped may be resumed at the others for this long: its clients know that it went,
    #: and many of them take their time to come in.
    departure_grace_s: float = Field(30.0, gt=0, le=120)
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

    model_config = _GROUP

    ring_bytes_max: int = Field(4 * _MIB, ge=4 * 1024, le=64 * _MIB)
    ring_frames_max: int = Field(4_096, ge=4, le=65_536)
    #: A client that missed more than this gets a snapshot instead.
    replay_entries_max: int = Field(1_000, ge=1, le=10_000)
    replay_bytes_max: int = Field(_MIB, ge=64 * 1024, le=8 * _MIB)


class Postgres(BaseModel):
    """How one server uses Postgres. No transaction that was left half-done may hold a project for long."""

    model_config = _GROUP

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

    model_config = SettingsConfigDict(
        env_prefix="FOUNDRY_", env_nested_delimiter="__", env_ignore_empty=True, frozen=True
    )

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

    @property
    def missing(self) -> str:
        """What must be given and is not, in one sentence; empty if there is nothing."""
        if self.data_dir is not None or (self.database_url and not self.dev):
            return ""
        if self.database_url:
            return "--data-dir: give it too, --dev keeps its signing key there"
        return "--data-dir: give it, or --database-url to share a Postgres with other servers"

    def check(self) -> None:
        """Refuse combinations that would be unsafe.

        Raises:
            StartupError: A development key beyond loopback, plaintext beyond loopback, no way to verify tokens, half
                a TLS key pair, no place for data, or an address that is none.
        """
        if self.missing:
            raise StartupError(self.missing)
        self._check_addresses()
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

    def _check_addresses(self) -> None:
        """Refuse what cannot be listened on, before anything is said of where it leads."""
        if not (self.listen.startswith(("unix:", "unix-abstract:")) or _has_port(self.listen)):
            raise StartupError(f"--listen: {self.listen or 'nothing'} is no address; give HOST:PORT, or unix:FILE")
        if self.metrics_listen and not _has_port(self.metrics_listen):
            raise StartupError(f"--metrics-listen: {self.metrics_listen} is no address; give HOST:PORT")


def sentence_of(error: ValidationError, options: Mapping[str, str]) -> str:
    """Which setting is none and why, without its value: it may hold a password.

    Args:
        error: What making the settings ended with.
        options: The settings that were given on the command line, and what they are called there.
    """
    first = error.errors()[0]
    place, why = [str(part) for part in first["loc"]], first["msg"].removeprefix("Value error, ")
    if unreadable := _UNREADABLE.match(first["msg"]):
        place, why = [unreadable["name"]], "it is no JSON"
    if place[:1] == ["administrators"] and "administrators" not in options:
        return 'FOUNDRY_ADMINISTRATORS: give a JSON list of subjects, ["alice"]'
    if first["type"] == "extra_forbidden":
        why = "there is no such setting"
    name = options.get(place[0]) if len(place) == 1 else None
    return f"{name or 'FOUNDRY_' + '__'.join(place).upper()}: {why}"


def _has_port(address: str) -> bool:
    found = _PORT.fullmatch(address, address.rfind(":")) if ":" in address else None
    return found is not None and int(found["port"]) <= _PORT_MAX


def _is_loopback(listen: str) -> bool:
    if listen.startswith("unix:"):
        return True
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
