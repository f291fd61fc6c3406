"""compose.yaml and the Dockerfile say what the server understands, and nothing that must be secret."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from foundry.settings import Liveness, Postgres, ServerSettings
from tests.deploy.files import COMPOSE, ROOT, compose, development, dockerfile, seconds, servers, variables

_OF_THE_SERVER = servers()


def _setting(name: str) -> object:
    """The field of the settings that an environment variable stands for; fails when there is none."""
    model: Any = ServerSettings
    field: Any = None
    for part in name.removeprefix("FOUNDRY_").lower().split("__"):
        field = model.model_fields[part]
        model = field.annotation
    return field


def test_every_variable_of_a_server_is_a_setting() -> None:
    """A name that no setting has would be ignored without a word."""
    names = [name for server in _OF_THE_SERVER.values() for name in server["environment"]]
    names += dockerfile()["env"]
    assert len(_OF_THE_SERVER) == 2
    for name in names:
        assert name.startswith("FOUNDRY_")
        assert _setting(name)


def test_the_settings_of_a_server_are_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    """They pass the checks that are made before a server starts."""
    for name, value in {**dockerfile()["env"], **_OF_THE_SERVER["foundry-1"]["environment"]}.items():
        monkeypatch.setenv(name, value)
    settings = ServerSettings()
    settings.check()
    assert settings.database_url
    assert settings.redis_url
    assert settings.local_socket
    assert not settings.dev


def test_the_servers_differ_in_nothing() -> None:
    """Any of them can take any call."""
    one, other = _OF_THE_SERVER.values()
    assert one == other


def test_no_password_stands_in_the_file() -> None:
    """Each comes from outside, and there is no default for it."""
    given, text = development(), COMPOSE.read_text("utf-8")
    passwords = [name for name in given if name.endswith("_PASSWORD")]
    assert passwords == ["POSTGRES_PASSWORD", "OWNER_PASSWORD", "SERVER_PASSWORD"]
    for name in passwords:
        assert given[name] not in text
        assert f"${{{name}:?" in text
        assert f"${{{name}:-" not in text


def test_every_variable_has_a_value_for_development() -> None:
    """`docker compose --env-file` with the development file asks for nothing more."""
    assert set(variables()) == set(development())


@pytest.mark.parametrize("service", list(_OF_THE_SERVER))
def test_a_server_never_learns_the_password_of_the_owner(service: str) -> None:
    """Whoever takes a server over must not be able to switch the guards off."""
    told = str(compose(OWNER_PASSWORD="of-the-owner", POSTGRES_PASSWORD="of-postgres")["services"][service])
    assert "of-the-owner" not in told
    assert "of-postgres" not in told


@pytest.mark.parametrize("server", _OF_THE_SERVER.values(), ids=list(_OF_THE_SERVER))
class TestServer:
    def test_comes_back_whatever_it_ended_of(self, server: dict[str, Any]) -> None:
        """One that the others gave up ends by itself."""
        assert server["restart"] == "always"

    def test_has_the_time_to_leave(self, server: dict[str, Any]) -> None:
        """Docker kills it only after everything that it waits for when it stops."""
        liveness, postgres = Liveness(), Postgres()
        leaving_s = 2 * liveness.stop_grace_s + postgres.transaction_limit_s + postgres.connect_limit_s
        assert seconds(server["stop_grace_period"]) > leaving_s

    def test_waits_for_the_migration(self, server: dict[str, Any]) -> None:
        """There is a schema when it starts."""
        assert server["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}

    def test_does_not_wait_for_redis_to_be_well(self, server: dict[str, Any]) -> None:
        """It serves without."""
        assert server["depends_on"]["redis"] == {"condition": "service_started"}

    def test_is_asked_on_the_socket_that_it_opens(self, server: dict[str, Any]) -> None:
        """The health check works beside TLS, and is the one of the image."""
        socket = dockerfile()["env"]["FOUNDRY_LOCAL_SOCKET"]
        assert server["healthcheck"]["test"] == ["CMD", *dockerfile()["healthcheck"]]
        assert server["healthcheck"]["test"][-1] == f"unix:{socket}"
        folder = socket.rpartition("/")[0]
        assert any(mount.startswith(f"{folder}:") for mount in server["tmpfs"])

    def test_can_write_to_nothing_that_stays(self, server: dict[str, Any]) -> None:
        """What it knows is in the database."""
        assert server["read_only"]
        assert "volumes" not in server
        assert server["cap_drop"] == ["ALL"]


def test_only_the_proxy_is_reached_from_outside() -> None:
    """By this machine alone, since it speaks plaintext."""
    read = compose()
    published = {name: one["ports"] for name, one in read["services"].items() if "ports" in one}
    assert published == {"proxy": ["127.0.0.1:50051:50051"]}
    assert read["networks"]["inside"] == {"internal": True}
    for name, service in read["services"].items():
        assert service["networks"] == (["inside", "outside"] if name == "proxy" else ["inside"])


def test_redis_keeps_nothing_and_forgets_nothing() -> None:
    """Full, it refuses; it does not drop what it shows."""
    command = compose()["services"]["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--save"] == ""
    assert options["--appendonly"] == "no"
    assert options["--maxmemory-policy"] == "noeviction"


def test_the_migration_runs_once_the_database_is_well() -> None:
    """And is not run again by Docker: it either did it, or somebody has to look."""
    migrate = compose()["services"]["migrate"]
    assert migrate["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert migrate["restart"] == "no"


def test_the_image_runs_foundry_as_nobody_in_particular() -> None:
    """Its command alone is a server of one machine."""
    image = dockerfile()
    assert image["user"] == "foundry"
    assert image["entrypoint"] == ["foundry"]
    assert image["cmd"][0] == "serve"


def test_all_that_the_wheel_is_made_of_reaches_the_build() -> None:
    """The build sees only what .dockerignore lets through."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    let_through = [line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line[:1] == "!"]
    for path in ("pyproject.toml", "constraints.txt", *wheel["packages"], *wheel["force-include"]):
        assert (ROOT / path).exists()
        assert any(path == allowed or path.startswith(f"{allowed}/") for allowed in let_through), path
