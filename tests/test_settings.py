"""Settings: unsafe combinations are refused, and every knob has its limit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from foundry.settings import Fanout, Limits, Liveness, ServerSettings, StartupError, sentence_of

KEY, CERT = Path("key.pem"), Path("cert.pem")
TRUSTED: dict[str, Any] = {"token_public_key_file": KEY, "token_issuer": "https://issuer.example"}
TLS: dict[str, Any] = {"tls_cert_file": CERT, "tls_key_file": KEY}
LOOPBACK = ["127.0.0.1:0", "127.9.9.9:50051", "localhost:50051", "[::1]:0", "unix:/run/foundry.sock"]
#: Beyond this machine, or written so that only gRPC knows.
BEYOND = [
    "0.0.0.0:50051",
    "[::]:50051",
    ":50051",
    "10.0.0.7:50051",
    "foundry.example:443",
    "localhost.example:443",
    "127.0.0.1.example:443",
    "unix-abstract:foundry",
    "dns:///127.0.0.1:443",
    "ipv4:0.0.0.0:443",
]
#: Nowhere at all.
NO_ADDRESS = [
    "127.0.0.1",
    "50051",
    "localhost:",
    "127.0.0.1:port",
    "127.0.0.1:65536",
    "127.0.0.1:-1",
    "[::1]",
    "[::1]:x",
]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's own settings."""
    for name in ("DATA_DIR", "DATABASE_URL", "LISTEN", "DEV", "TOKEN_ISSUER"):
        monkeypatch.delenv(f"FOUNDRY_{name}", raising=False)


def settings(**options: object) -> ServerSettings:
    """Settings with a data directory."""
    return ServerSettings.model_validate({"data_dir": Path("data"), **options})


@pytest.mark.parametrize("listen", LOOPBACK)
def test_development_is_for_this_machine(listen: str) -> None:
    """On loopback and Unix sockets a development key does, and so does plaintext."""
    settings(dev=True, listen=listen).check()
    settings(**TRUSTED, listen=listen).check()


@pytest.mark.parametrize("listen", BEYOND)
def test_a_development_key_beyond_it_is_refused(listen: str) -> None:
    """Whoever can read the data directory could be anybody: not for a network, whatever else is given."""
    for more in ({}, TLS, {"allow_plaintext": True}):
        with pytest.raises(StartupError, match="--dev serves loopback addresses and Unix sockets only"):
            settings(dev=True, listen=listen, **more).check()


@pytest.mark.parametrize("listen", BEYOND)
def test_plaintext_beyond_it_is_refused(listen: str) -> None:
    """Tokens would be shown to the network; TLS, or a word that there is a proxy, makes it right."""
    with pytest.raises(StartupError, match="would show tokens to the network: give --tls-cert and --tls-key"):
        settings(**TRUSTED, listen=listen).check()
    settings(**TRUSTED, **TLS, listen=listen).check()
    settings(**TRUSTED, allow_plaintext=True, listen=listen).check()


@pytest.mark.parametrize("address", NO_ADDRESS)
def test_an_address_without_a_port_is_none(address: str) -> None:
    """It is not said to be beyond this machine, nor taken by somebody else."""
    for option in ("listen", "metrics_listen"):
        with pytest.raises(StartupError) as refused:
            settings(dev=True, **{option: address}).check()
        assert str(refused.value).startswith(f"--{option.replace('_', '-')}: {address} is no address; give HOST:PORT")


def test_a_listener_on_nothing_is_none() -> None:
    """Without metrics nothing is said."""
    with pytest.raises(StartupError, match="--listen: nothing is no address"):
        settings(dev=True, listen="").check()
    settings(dev=True, metrics_listen="").check()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "--data-dir: give it, or --database-url to share a Postgres with other servers"),
        ({"dev": True}, "--data-dir: give it, or --database-url to share a Postgres with other servers"),
        ({"dev": True, "database_url": "postgresql://x"}, "--data-dir: give it too, --dev keeps its signing key there"),
    ],
)
def test_without_a_place_for_data_it_says_what_to_give(options: dict[str, Any], sentence: str) -> None:
    """Never what is given already."""
    with pytest.raises(StartupError) as refused:
        ServerSettings.model_validate(options).check()
    assert str(refused.value) == sentence


UNSAFE: dict[str, tuple[dict[str, Any], str]] = {
    "nothing to verify tokens with": ({}, "no token could be verified"),
    "an issuer without a key": ({"token_issuer": "x"}, "no token could be verified"),
    "a key without an issuer": ({"token_public_key_file": KEY}, "needs --token-issuer"),
    "a development key beside a real one": ({"dev": True, **TRUSTED}, "leave --token-public-key out"),
    "a certificate without its key": ({"dev": True, "tls_cert_file": CERT}, "TLS needs both"),
    "a key without its certificate": ({"dev": True, "tls_key_file": KEY}, "TLS needs both"),
}


@pytest.mark.parametrize(("options", "sentence"), UNSAFE.values(), ids=UNSAFE)
def test_half_a_configuration_is_refused(options: dict[str, Any], sentence: str) -> None:
    """In a sentence that says what is missing."""
    with pytest.raises(StartupError, match=sentence):
        settings(**options).check()


def test_the_defaults_are_safe() -> None:
    """Loopback, TLS where it matters, no development, nobody an administrator."""
    chosen = settings()
    assert (chosen.listen, chosen.dev, chosen.allow_plaintext, chosen.administrators) == (
        "127.0.0.1:50051",
        False,
        False,
        (),
    )


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the nested ones; what is given on the command line counts more."""
    for name, value in {
        "DATA_DIR": "elsewhere",
        "LISTEN": "127.0.0.1:1",
        "DEV": "true",
        "LIVENESS__SILENCE_LIMIT_S": "7.5",
        "ADMINISTRATORS": '["root"]',
    }.items():
        monkeypatch.setenv(f"FOUNDRY_{name}", value)
    chosen = ServerSettings.model_validate({"listen": "127.0.0.1:2"})
    assert (chosen.data_dir, chosen.listen, chosen.dev) == (Path("elsewhere"), "127.0.0.1:2", True)
    assert (chosen.liveness.silence_limit_s, chosen.administrators) == (7.5, ("root",))


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Compose and unit files write one that is not wanted."""
    for name in ("DATABASE_URL", "REDIS_URL", "LISTEN", "DEV", "LIVENESS__SILENCE_LIMIT_S", "ADMINISTRATORS"):
        monkeypatch.setenv(f"FOUNDRY_{name}", "")
    chosen = settings(dev=True)
    assert (chosen.database_url, chosen.redis_url, chosen.listen) == (None, None, "127.0.0.1:50051")
    assert (chosen.liveness, chosen.administrators) == (Liveness(), ())
    chosen.check()


#: Variables that are wrong, and what is said of each; a value is never quoted.
WRONG = {
    ("ADMINISTRATORS", "hunter2"): 'FOUNDRY_ADMINISTRATORS: give a JSON list of subjects, ["alice"]',
    ("ADMINISTRATORS", '"hunter2"'): 'FOUNDRY_ADMINISTRATORS: give a JSON list of subjects, ["alice"]',
    ("POSTGRES__POOL_MAX", "0"): "FOUNDRY_POSTGRES__POOL_MAX: Input should be greater than or equal to 1",
    ("POSTGRES__POOLMAX", "8"): "FOUNDRY_POSTGRES__POOLMAX: there is no such setting",
    ("LIVENESS__IDLE_LIMIT", "8"): "FOUNDRY_LIVENESS__IDLE_LIMIT: there is no such setting",
    ("POSTGRES", "hunter2"): "FOUNDRY_POSTGRES: it is no JSON",
    ("DEV", "hunter2"): "FOUNDRY_DEV: Input should be a valid boolean, unable to interpret input",
}


@pytest.mark.parametrize(("variable", "sentence"), WRONG.items(), ids=str)
def test_a_wrong_variable_is_named(variable: tuple[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is written, not as an option that there is not."""
    monkeypatch.setenv(f"FOUNDRY_{variable[0]}", variable[1])
    with pytest.raises(ValidationError) as refused:
        settings()
    assert sentence_of(refused.value, {"data_dir": "--data-dir"}) == sentence


def test_a_wrong_option_is_named() -> None:
    """By the name that it has on the command line."""
    with pytest.raises(ValidationError) as refused:
        settings(log_level="loud")
    assert sentence_of(refused.value, {"log_level": "--log-level"}).startswith("--log-level: ")


OUT_OF_BOUNDS: list[tuple[type[Limits | Liveness | Fanout], dict[str, Any]]] = [
    (Limits, {"message_bytes_max": 64 * 1024**2}),
    (Limits, {"text_bytes_max": 0}),
    (Limits, {"changes_per_save_max": 65}),
    (Limits, {"sessions_per_project_max": 0}),
    (Liveness, {"heartbeat_interval_s": 0}),
    (Liveness, {"heartbeat_interval_s": 4.5}),
    (Liveness, {"grace_s_max": -1}),
    (Liveness, {"idle_limit_s": float("inf")}),
    (Liveness, {"silence_limit_s": float("nan")}),
    (Fanout, {"ring_bytes_max": 1}),
    (Fanout, {"ring_frames_max": 10**9}),
]


@pytest.mark.parametrize(("kind", "values"), OUT_OF_BOUNDS, ids=str)
def test_every_knob_has_its_limit(kind: type[Limits | Liveness | Fanout], values: dict[str, Any]) -> None:
    """A value that could not work is refused at start, with its name."""
    with pytest.raises(ValidationError, match=next(iter(values))):
        kind(**values)


def test_every_number_is_bounded_on_both_sides() -> None:
    """A limit on everything: no knob can be turned without end."""
    for kind in (Limits, Liveness, Fanout):
        for name, properties in kind.model_json_schema()["properties"].items():
            assert {"minimum", "exclusiveMinimum"} & properties.keys(), name
            assert {"maximum", "exclusiveMaximum"} & properties.keys(), name


def test_settings_do_not_change() -> None:
    """What was checked is what serves."""
    with pytest.raises(ValidationError, match="frozen"):
        settings().listen = "0.0.0.0:1"  # type: ignore[misc]  # frozen, as is to be shown
