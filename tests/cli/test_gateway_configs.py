"""``trenza gateway-config``: what Kong and Amazon API Gateway are told of a deployment.

Neither runs here. What they would refuse is judged by their published rules: for Kong the fields and types of the schema by which
decK reads such files, and its documented order of routes; for Amazon the documented extensions of OpenAPI.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from typer.testing import Result

Trenza = Callable[..., Result]

_DOCS = Path(__file__).parents[2] / "docs" / "deployment"

# The fields that are written and those beside them, by entity, with the types that decK's schema gives them.
_TEXT, _NUMBER, _SWITCH, _TEXTS, _NUMBERS = "text", "number", "switch", "texts", "numbers"
_STATE = {"http_statuses": _NUMBERS, "interval": _NUMBER}
_HEALTHY = {**_STATE, "successes": _NUMBER}
_UNHEALTHY = {**_STATE, "http_failures": _NUMBER, "tcp_failures": _NUMBER, "timeouts": _NUMBER}
_KONG: dict[str, Any] = {
    "_format_version": _TEXT,
    "upstreams": [
        {
            "name": _TEXT,
            "algorithm": _TEXT,
            "healthchecks": {
                "active": {
                    "type": _TEXT,
                    "http_path": _TEXT,
                    "timeout": _NUMBER,
                    "concurrency": _NUMBER,
                    "healthy": _HEALTHY,
                    "unhealthy": _UNHEALTHY,
                },
                "passive": {"type": _TEXT, "healthy": _HEALTHY, "unhealthy": _UNHEALTHY},
                "threshold": _NUMBER,
            },
            "targets": [{"target": _TEXT, "weight": _NUMBER}],
        }
    ],
    "services": [
        {
            "name": _TEXT,
            "protocol": _TEXT,
            "host": _TEXT,
            "port": _NUMBER,
            "path": _TEXT,
            "connect_timeout": _NUMBER,
            "read_timeout": _NUMBER,
            "write_timeout": _NUMBER,
            "retries": _NUMBER,
            "routes": [
                {
                    "name": _TEXT,
                    "protocols": _TEXTS,
                    "paths": _TEXTS,
                    "strip_path": _SWITCH,
                    "path_handling": _TEXT,
                    "preserve_host": _SWITCH,
                    "request_buffering": _SWITCH,
                    "response_buffering": _SWITCH,
                }
            ],
        }
    ],
    "plugins": [{"name": _TEXT, "config": {}}],
}
_PLUGINS: dict[str, dict[str, str]] = {
    "correlation-id": {"header_name": _TEXT, "generator": _TEXT, "echo_downstream": _SWITCH},
    "cors": {
        "origins": _TEXTS,
        "methods": _TEXTS,
        "headers": _TEXTS,
        "exposed_headers": _TEXTS,
        "credentials": _SWITCH,
        "max_age": _NUMBER,
        "preflight_continue": _SWITCH,
    },
    "rate-limiting": {"minute": _NUMBER, "limit_by": _TEXT, "policy": _TEXT, "fault_tolerant": _SWITCH},
    "request-size-limiting": {"allowed_payload_size": _NUMBER, "size_unit": _TEXT},
}


def _is(kind: str, value: Any) -> bool:
    match kind:
        case "text":
            return isinstance(value, str)
        case "number":
            return isinstance(value, int) and not isinstance(value, bool)
        case "switch":
            return isinstance(value, bool)
        case "texts" | "numbers":
            return isinstance(value, list) and all(_is(kind[:-1], each) for each in value)
    raise AssertionError(kind)


def _wrong(rule: Any, value: Any, place: str = "") -> list[str]:
    """Where a value is not as a rule has it."""
    if isinstance(rule, str):
        return [] if _is(rule, value) else [f"{place}: {value!r} is no {rule}"]
    if isinstance(rule, list):
        return [line for index, each in enumerate(value) for line in _wrong(rule[0], each, f"{place}[{index}]")]
    if not rule:
        return []
    unknown = [f"{place}.{name}: unknown" for name in value if name not in rule]
    return unknown + [line for name in value if name in rule for line in _wrong(rule[name], value[name], f"{place}.{name}")]


def _wrong_in_kong(config: dict[str, Any]) -> list[str]:
    plugins = [
        line for plugin in config["plugins"] for line in _wrong(_PLUGINS[plugin["name"]], plugin["config"], plugin["name"])
    ]
    return _wrong(_KONG, config) + plugins


def _kong_finds(config: dict[str, Any], path: str) -> tuple[str, str] | None:
    """The Kong service that takes a path, and the path that its upstream sees.

    Regular expressions come first, then the longest prefix; ``strip_path`` takes away what has matched, and the rest is joined to
    the service's path by one slash (``path_handling`` v0).
    """
    found: list[tuple[bool, int, dict[str, Any], str]] = []
    for service in config["services"]:
        for route in service["routes"]:
            for pattern in route["paths"]:
                if pattern.startswith("~"):
                    if match := re.match(pattern[1:], path):
                        found.append((True, len(pattern), service, path[match.end() :]))
                elif path.startswith(pattern):
                    found.append((False, len(pattern), service, path.removeprefix(pattern)))
    if not found:
        return None
    _, _, service, rest = max(found, key=lambda each: each[:2])
    return service["name"], f"{service['path'].rstrip('/')}/{rest}" if rest else service["path"]


@pytest.fixture
def kong(trenza: Trenza, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Kong's configuration of a deployment that is written here."""

    def make(text: str, *more: str) -> dict[str, Any]:
        file = tmp_path / "mine.toml"
        file.write_text(text)
        printed = trenza("gateway-config", "kong", "--deployment", file, *more)
        assert printed.exit_code == 0, printed.stderr
        config: dict[str, Any] = json.loads(printed.stdout)
        assert _wrong_in_kong(config) == []
        return config

    return make


@pytest.fixture
def rivals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Services of others: one owns what photos would have had as another spelling, two would share one."""
    module = f"rivals_{uuid4().hex}"
    (tmp_path / f"{module}.py").write_text(
        "from trenza import Contract, Service\n"
        "class Old(Contract, service='old', paths=('/photos', '/api/v2/photos', '/deals')): ...\n"
        "class Deals(Contract, service='deals', paths=('/api/deals', '/v1.5/deals', '/api/docs')): ...\n"
        "class OldDesk(Old):\n    def __init__(self, resources): ...\n"
        "class DealDesk(Deals):\n    def __init__(self, resources): ...\n"
        "old = Service(contract=Old, implementation=OldDesk)\n"
        "deals = Service(contract=Deals, implementation=DealDesk)\n"
    )
    info = tmp_path / "rivals-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: rivals\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[trenza.services]\nold = {module}:old\ndeals = {module}:deals\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.startswith(module)]:
        del sys.modules[name]


_SPLIT = (
    '[processes.gateway]\ngateway = true\nurl = "http://127.0.0.1:8000"\n'
    '[processes.photos]\nservices = ["photos"]\nurl = "http://127.0.0.1:8101"\nreplicas = 2\n'
    '[processes.images]\nservices = ["images"]\nurl = "http://[::1]"\n'
)


@pytest.mark.parametrize(
    ("kind", "deployment", "file"), [("kong", "containers", "kong.json"), ("aws", "aws", "aws-api-gateway.json")]
)
def test_the_configuration_in_the_docs_is_what_is_printed(trenza: Trenza, kind: str, deployment: str, file: str) -> None:
    printed = trenza("gateway-config", kind, "--deployment", _DOCS / f"{deployment}.toml")
    assert printed.exit_code == 0
    assert (_DOCS / file).read_text("utf-8") == printed.stdout, "print it anew: make docs"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/api/photos/1/large", ("photos-api-photos", "/api/photos/1/large")),
        ("/api/v1/photos/1", ("photos-api-photos", "/api/photos/1")),
        ("/photos/1", ("photos-api-photos", "/api/photos/1")),
        ("/api/photos", ("photos-api-photos", "/api/photos")),
        ("/photos", ("photos-api-photos", "/api/photos")),
        ("/", ("photos-root", "/")),
        ("/images/tasks/7", ("images-api-v1-images", "/api/v1/images/tasks/7")),
        ("/blobs/photos/UP-1/2/original.jpg", ("photos-blobs-photos", "/blobs/photos/UP-1/2/original.jpg")),
        ("/blobs/uploads/photos/3", ("photos-blobs-uploads-photos", "/blobs/uploads/photos/3")),
        ("/health/live", ("platform-health-live", "/health/live")),
        ("/openapi.json", ("platform-openapi.json", "/openapi.json")),
        ("/openapiXjson", None),
        ("/health/status", None),
        ("/metrics", None),
        ("/_call/photos/find_photo", None),
        ("/_call", None),
        ("/api/photosphere", None),
        ("/api/v2/photos", None),
        ("/anything", None),
    ],
)
def test_kong_leads_every_path_to_its_owner_and_nothing_else_anywhere(
    kong: Callable[..., dict[str, Any]], path: str, found: tuple[str, str] | None
) -> None:
    assert _kong_finds(kong(_SPLIT), path) == found


def test_kong_balances_replicas_by_their_health(kong: Callable[..., dict[str, Any]]) -> None:
    config = kong(_SPLIT)
    upstreams = {upstream["name"]: upstream for upstream in config["upstreams"]}
    assert {name: [target["target"] for target in upstream["targets"]] for name, upstream in upstreams.items()} == {
        "photos.trenza": ["127.0.0.1:8101", "127.0.0.1:8102"],
        "images.trenza": ["[::1]:80"],
        "platform.trenza": ["127.0.0.1:8000"],
    }
    assert {upstream["algorithm"] for upstream in upstreams.values()} == {"least-connections"}
    assert {upstream["healthchecks"]["active"]["http_path"] for upstream in upstreams.values()} == {"/health/ready"}
    assert {service["host"] for service in config["services"]} == set(upstreams)
    names = [service["name"] for service in config["services"]]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9._~-]+", name) for name in names)


def test_kong_streams_bodies_and_waits_a_little_longer_than_the_services(kong: Callable[..., dict[str, Any]]) -> None:
    services = kong(_SPLIT)["services"]
    assert {(s["connect_timeout"], s["read_timeout"], s["write_timeout"], s["retries"]) for s in services} == {
        (2000, 130_000, 130_000, 2)
    }
    routes = [route for service in services for route in service["routes"]]
    assert {(route["request_buffering"], route["response_buffering"]) for route in routes} == {(False, False)}


def test_kong_has_its_limits_and_origins_from_options_and_settings(
    kong: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def plugins(*more: str) -> dict[str, dict[str, Any]]:
        return {plugin["name"]: plugin["config"] for plugin in kong(_SPLIT, *more)["plugins"]}

    usual = plugins()
    assert (usual["rate-limiting"]["minute"], usual["rate-limiting"]["limit_by"]) == (100, "ip")
    assert usual["request-size-limiting"] == {"allowed_payload_size": 4096, "size_unit": "megabytes"}
    assert usual["correlation-id"]["header_name"] == "X-Correlation-ID"
    assert "cors" not in usual
    monkeypatch.setenv("CORS_ORIGINS", "https://a.example, https://b.example")
    chosen = plugins("--per-minute", "0", "--body-megabytes", "64")
    assert chosen["cors"]["origins"] == ["https://a.example", "https://b.example"]
    assert {"Idempotency-Key", "Authorization"} <= set(chosen["cors"]["headers"])
    assert chosen["request-size-limiting"]["allowed_payload_size"] == 64
    assert "rate-limiting" not in chosen


def test_kong_routes_no_objects_that_a_bucket_serves(
    kong: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRENZA_BLOBS_URL", "s3://bucket")
    assert _kong_finds(kong(_SPLIT), "/blobs/photos/a") is None


@pytest.mark.usefixtures("rivals")
def test_a_spelling_that_another_service_owns_or_two_would_have_leads_to_neither_by_chance(
    kong: Callable[..., dict[str, Any]],
) -> None:
    config = kong(
        '[processes.all]\nservices = ["photos", "images", "old", "deals"]\nurl = "http://all:8000"\n',
    )
    assert _kong_finds(config, "/photos/1") == ("old-photos", "/photos/1")
    assert _kong_finds(config, "/api/photos/1") == ("photos-api-photos", "/api/photos/1")
    assert _kong_finds(config, "/api/v1/photos/1") is None
    assert _kong_finds(config, "/deals/1") == ("old-deals", "/deals/1")
    assert _kong_finds(config, "/api/deals/1") == ("deals-api-deals", "/api/deals/1")
    assert _kong_finds(config, "/api/v1/deals/1") is None
    assert _kong_finds(config, "/api/v2/photos/1") == ("old-api-v2-photos", "/api/v2/photos/1")
    assert _kong_finds(config, "/v1.5/deals") == ("deals-v1.5-deals", "/v1.5/deals")
    assert _kong_finds(config, "/v1x5/deals") is None
    assert _kong_finds(config, "/api/docs") == ("deals-api-docs", "/api/docs")
    assert _kong_finds(config, "/docs") is None
    assert _kong_finds(config, "/health/live") is None


def test_what_kong_leaves_out_is_said_beside_the_configuration(trenza: Trenza) -> None:
    notes = trenza("gateway-config", "kong").stderr.splitlines()
    assert any(note.startswith("note: tokens are verified by the services") for note in notes)
    assert not any("no process is the gateway" in note for note in notes)
    json.loads(trenza("gateway-config", "kong").stdout)


def test_amazon_leads_every_spelling_to_the_services_own_path(trenza: Trenza, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ORIGINS", "https://a.example")
    document = json.loads(trenza("gateway-config", "aws", "--deployment", _DOCS / "aws.toml").stdout)
    assert document["openapi"].startswith("3.0.")
    assert document["x-amazon-apigateway-cors"]["allowOrigins"] == ["https://a.example"]
    integrations = {
        path: item["x-amazon-apigateway-any-method"]["x-amazon-apigateway-integration"]
        for path, item in document["paths"].items()
    }
    assert {path: integration["uri"] for path, integration in integrations.items() if "blobs" not in path} == {
        f"{asked}{end}": f"https://{service}.example.com{owned}{sent}"
        for service, owned, spellings in (
            ("photos", "/api/photos", ("/api/photos", "/api/v1/photos", "/photos")),
            ("photos", "/api/projects", ("/api/projects", "/api/v1/projects", "/projects")),
            ("images", "/api/v1/images", ("/api/v1/images", "/api/images", "/images")),
        )
        for asked in spellings
        for end, sent in (("", ""), ("/{proxy+}", "/{proxy}"))
    } | {"/": "https://photos.example.com/"}
    for path, integration in integrations.items():
        assert integration["type"] == "http_proxy"
        assert integration["payloadFormatVersion"] == "1.0"
        assert 50 <= integration["timeoutInMillis"] <= 30_000
        assert re.fullmatch(r"(/[A-Za-z0-9._~-]+)*(/|/\{proxy\+\})?", path)
        assert ("{proxy}" in integration["uri"]) == ("{proxy+}" in path)


def test_amazon_is_told_which_addresses_it_will_not_reach(trenza: Trenza, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(_SPLIT.replace("http://[::1]", "https://images.example.com"))
    notes = trenza("gateway-config", "aws", "--deployment", tmp_path / "mine.toml").stderr.splitlines()
    assert "note: photos has 2 addresses and API Gateway uses one, http://127.0.0.1:8101: name a load balancer's" in notes
    assert "note: API Gateway does not reach http://127.0.0.1:8101 (photos): write an address that is public" in notes
    assert not any("images.example.com" in note for note in notes)


_MIXED = (
    '[processes.a]\nservices = ["photos", "images"]\nurl = "http://a:1"\n'
    '[processes.b]\nservices = ["photos", "images"]\nurl = "https://b:1"\n'
)


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("kong", _MIXED, "photos has addresses of http and of https, which Kong cannot balance; write one of both in each url"),
        ("kong", '[processes.all]\nservices = ["images"]\n', 'nobody reaches images: give processes.all a url, such as url = "h'),
        ("aws", '[processes.all]\nservices = ["images"]\n', "deployment 'mine' cannot stand behind a gateway: nobody reaches"),
        ("aws", '[processes.all]\nservices = ["nowhere"]\n', "no installed distribution has a service 'nowhere'"),
    ],
)
def test_what_no_gateway_can_stand_before_is_refused_in_a_line(
    trenza: Trenza, tmp_path: Path, kind: str, text: str, said: str
) -> None:
    (tmp_path / "mine.toml").write_text(text)
    refused = trenza("gateway-config", kind, "--deployment", tmp_path / "mine.toml")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert said in refused.stderr
    assert refused.stderr.count("\n") == 1
