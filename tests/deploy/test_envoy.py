"""The proxy's configuration fits the contract: no stream is cut, and nothing is done twice."""

from __future__ import annotations

import re
from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from foundry.rpc.server import SERVICES
from foundry.settings import Limits
from tests.deploy.files import cluster, compose, connection_manager, envoy, seconds

_MANAGER = connection_manager(envoy())
_CLUSTER = cluster(envoy())
_METHODS = {f"/{service.full_name}/{method.name}": method for service in SERVICES for method in service.methods}
_STREAMS = [path for path, method in _METHODS.items() if method.client_streaming or method.server_streaming]
_READS = MethodOptions.IdempotencyLevel.NO_SIDE_EFFECTS
#: Nothing was done when one of these is what went wrong.
_NOT_DONE = {"connect-failure", "refused-stream"}


def _route(path: str) -> dict[str, Any]:
    """Where a call goes, and how: the first route that matches it."""
    [host] = _MANAGER["route_config"]["virtual_hosts"]
    for route in host["routes"]:
        match = route["match"]
        found = (
            path == match.get("path")
            or ("prefix" in match and path.startswith(match["prefix"]))
            or ("safe_regex" in match and re.fullmatch(match["safe_regex"]["regex"], path))
        )
        if found:
            action: dict[str, Any] = route["route"]
            return action
    raise AssertionError(f"{path} goes nowhere")


def _retries(path: str) -> set[str]:
    return set(filter(None, _route(path).get("retry_policy", {}).get("retry_on", "").split(",")))


def _is_stream(method: MethodDescriptor) -> bool:
    return bool(method.client_streaming or method.server_streaming)


@pytest.mark.parametrize("path", [*_STREAMS, "/grpc.health.v1.Health/Watch"])
def test_no_stream_is_ever_cut(path: str) -> None:
    """Neither by the time it takes (15 s by default) nor by the silence of one side (5 min by default)."""
    assert _route(path)["timeout"] == "0s"
    assert _route(path)["idle_timeout"] == "0s"
    assert _MANAGER["stream_idle_timeout"] == "0s"
    assert "request_timeout" not in _MANAGER
    assert "max_stream_duration" not in _MANAGER.get("common_http_protocol_options", {})
    assert _retries(path) == set()


@pytest.mark.parametrize("path", [path for path, method in _METHODS.items() if not _is_stream(method)])
def test_a_call_is_repeated_only_where_that_changes_nothing(path: str) -> None:
    """A read by any server; a write only when no server has seen it."""
    reads = _METHODS[path].GetOptions().idempotency_level == _READS
    assert _retries(path) >= _NOT_DONE
    assert (_retries(path) - _NOT_DONE == {"unavailable", "reset-before-request"}) == reads
    assert 0 < seconds(_route(path)["timeout"]) <= 60


def test_the_proxy_speaks_http2_on_both_sides() -> None:
    """It asks both sides whether they live, not so often that a server takes it for abuse (5 s)."""
    [options] = _CLUSTER["typed_extension_protocol_options"].values()
    upstream = options["explicit_http_config"]["http2_protocol_options"]
    assert _MANAGER["codec_type"] == "HTTP2"
    for side in (_MANAGER["http2_protocol_options"], upstream):
        assert seconds(side["connection_keepalive"]["interval"]) == 10
        assert seconds(side["connection_keepalive"]["timeout"]) == 10


def test_streams_that_stand_still_do_not_hold_up_others() -> None:
    """The window of a connection has room for the windows of all its streams."""
    [options] = _CLUSTER["typed_extension_protocol_options"].values()
    upstream = options["explicit_http_config"]["http2_protocol_options"]
    windows = upstream["initial_stream_window_size"] * upstream["max_concurrent_streams"]
    assert upstream["initial_connection_window_size"] >= windows


def test_every_session_of_a_project_finds_a_place() -> None:
    """The defaults of the proxy end at 1,024 calls at once, of everybody together."""
    [thresholds] = _CLUSTER["circuit_breakers"]["thresholds"]
    sessions = Limits().sessions_per_project_max
    assert _MANAGER["http2_protocol_options"]["max_concurrent_streams"] >= 10 * sessions
    assert thresholds["max_requests"] >= 100 * sessions


def test_a_leaving_server_gets_no_more_calls_and_keeps_its_streams() -> None:
    """It says NOT_SERVING first, and goodbye to its clients then."""
    [check] = _CLUSTER["health_checks"]
    assert check["grpc_health_check"] == {}
    noticed_s = seconds(check["interval"]) * check["unhealthy_threshold"] + seconds(check["timeout"])
    assert noticed_s <= 3
    assert seconds(check["no_traffic_interval"]) <= 1
    assert not _CLUSTER.get("close_connections_on_host_health_failure", False)
    assert _CLUSTER["common_lb_config"]["healthy_panic_threshold"] == {"value": 0}


def test_the_proxy_knows_the_servers_of_the_compose_file() -> None:
    """By name and port, each once, in turn; and it is reached where it listens."""
    services = compose()["services"]
    [locality] = _CLUSTER["load_assignment"]["endpoints"]
    known = [one["endpoint"]["address"]["socket_address"] for one in locality["lb_endpoints"]]
    serving = {name: one for name, one in services.items() if one.get("command") == ["serve"]}
    assert [one["address"] for one in known] == list(serving)
    for one in known:
        listen = serving[one["address"]]["environment"]["FOUNDRY_LISTEN"]
        assert listen == f"0.0.0.0:{one['port_value']}"
    assert _CLUSTER["lb_policy"] == "ROUND_ROBIN"
    [listener] = envoy()["static_resources"]["listeners"]
    assert services["proxy"]["ports"][0].endswith(f":{listener['address']['socket_address']['port_value']}")


def test_nobody_but_the_proxy_itself_reaches_its_administration() -> None:
    """Whoever does can stop it."""
    assert envoy()["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"
