"""What the command line says of the broker in ``TRENZA_TRANSPORT_URL``."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from typer.testing import Result

from trenza.chassis.testing.brokers import Broker, NotInstalled, start_broker
from trenza.chassis.testing.server_process import free_port

Trenza = Callable[..., Result]
INSPECTIONS = Path(__file__).parents[2] / "examples" / "inspections" / "deployment.toml"


@pytest.fixture
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker that starts in no time."""
    try:
        broker = start_broker("tansu", tmp_path_factory.mktemp("tansu"))
    except NotInstalled as error:
        pytest.skip(f"not installed: {error}")
    yield broker
    broker.close()


def line_of(result: Result, what: str) -> str:
    """The one line of the doctor about this."""
    [line] = [line for line in result.stdout.splitlines() if line.split(maxsplit=1)[1].startswith(what)]
    return " ".join(line.split())


WRONG = [
    ("amqp://u:hunter2@h/%2F?heartbeat=abc", "heartbeat is 'abc'; write a number of seconds from 1 to 3600"),
    ("amqps://u:hunter2@h/%2F?cafile=/no/ca.pem", "cafile is '/no/ca.pem', which cannot be read"),
    ("kafka://h?sasl.password=hunter2", "sasl.password: unused by security.protocol=plaintext; write sasl_ssl"),
    ("kafka://h?security.protocol=sasl_ssl&sasl.mechanism=BOGUS&sasl.username=u&sasl.password=hunter2", "is 'BOGUS'; write one"),
    ("sqs://eu-west-1?create=maybe", "create is 'maybe'; write one of true, false"),
]


@pytest.mark.parametrize(("url", "said"), WRONG)
def test_an_option_that_cannot_be_meant_is_refused_by_every_command_that_needs_the_broker(
    trenza: Trenza, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    monkeypatch.setenv("TRENZA_TRANSPORT_URL", url)
    common = ("--data-dir", tmp_path / "data")
    for arguments in (
        ("up", "--port", "0"),
        ("messages", "top"),
        ("messages", "declare"),
        ("tasks", "list"),
        ("dead-letters", "list"),
    ):
        refused = trenza(*arguments, *common)
        [line] = [line for line in refused.stderr.splitlines() if said in line]
        assert line.startswith("  - TRENZA_TRANSPORT_URL: "), arguments
        assert refused.exit_code == 1
        assert "hunter2" not in refused.output
    examined = trenza("doctor", *common, "--port", str(free_port()))
    assert examined.exit_code == 1
    assert line_of(examined, "broker").startswith("fail broker TRENZA_TRANSPORT_URL: ")
    assert said in line_of(examined, "broker")
    assert "hunter2" not in examined.output


def test_the_doctor_says_that_no_broker_is_set(trenza: Trenza, tmp_path: Path) -> None:
    examined = trenza("doctor", "--data-dir", tmp_path / "data", "--port", str(free_port()))
    assert line_of(examined, "broker").startswith("ok broker none: ")


def test_the_doctor_reaches_the_broker(trenza: Trenza, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kafka: Broker) -> None:
    monkeypatch.setenv("TRENZA_TRANSPORT_URL", kafka.url("yard"))
    examined = trenza("doctor", "--data-dir", tmp_path / "data", "--port", str(free_port()))
    assert examined.exit_code == 0, examined.stdout
    assert line_of(examined, "broker") == "ok broker Kafka at {}:{} lets us in".format(*kafka.address)


@pytest.mark.parametrize("scheme", ["amqp://someone:hunter2@", "kafka://"])
def test_the_doctor_tells_what_helps_against_a_broker_that_is_away(
    trenza: Trenza, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    port = free_port()
    monkeypatch.setenv("TRENZA_TRANSPORT_URL", f"{scheme}127.0.0.1:{port}")
    examined = trenza("doctor", "--data-dir", tmp_path / "data", "--port", str(free_port()))
    assert examined.exit_code == 1
    said = line_of(examined, "broker")
    assert said.startswith("fail broker ")
    assert f" at 127.0.0.1:{port} refuses the connection" in said
    assert "; start it, or correct" in said
    assert "hunter2" not in examined.output


@pytest.mark.parametrize("scheme", ["amqp://someone:hunter2@", "kafka://"])
def test_the_doctor_does_not_wait_for_a_broker_that_says_nothing(
    trenza: Trenza, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("TRENZA_TRANSPORT_URL", f"{scheme}127.0.0.1:{silent.getsockname()[1]}")
        examined = trenza("doctor", "--data-dir", tmp_path / "data", "--port", str(free_port()))
    assert examined.exit_code == 1
    said = line_of(examined, "broker")
    assert "does not answer" in said
    assert "start it" in said
    assert "a firewall keeps us from it" in said


def test_what_services_react_to_is_declared_before_they_run(
    trenza: Trenza, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kafka: Broker
) -> None:
    common = ("--data-dir", tmp_path / "data", "--deployment", INSPECTIONS)
    unset = trenza("messages", "declare", *common)
    assert (unset.exit_code, unset.stdout) == (1, "")
    assert unset.stderr == "trenza: TRENZA_TRANSPORT_URL is not set: without a broker there is nothing to declare\n"
    monkeypatch.setenv("TRENZA_TRANSPORT_URL", kafka.url("yard"))
    declared = trenza("messages", "declare", *common)
    assert declared.exit_code == 0, declared.stderr
    place = "Kafka at {}:{}".format(*kafka.address)
    assert declared.stdout == f"inspections: {place} keeps photos.PhotoCompleted, photos.PhotoDeleted\n"
    assert "yard.photos" in AdminClient({"bootstrap.servers": "{}:{}".format(*kafka.address)}).list_topics(timeout=10).topics
    other = trenza("messages", "declare", *common, "--service", "photos")
    assert (other.exit_code, other.stderr) == (2, "trenza: --service is 'photos'; those that react to events: inspections\n")
    assert trenza("messages", "declare", "--data-dir", tmp_path / "data").stdout == "no service of monolith reacts to events\n"
    assert not (tmp_path / "data").exists()


def test_a_broker_that_is_away_keeps_nothing_and_that_is_one_line(
    trenza: Trenza, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRENZA_TRANSPORT_URL", f"amqp://someone:hunter2@127.0.0.1:{free_port()}")
    refused = trenza("messages", "declare", "--data-dir", tmp_path / "data", "--deployment", INSPECTIONS)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.startswith("trenza: RabbitMQ at 127.0.0.1:")
    assert refused.stderr.endswith("refuses the connection; start it, or correct host and port in TRENZA_TRANSPORT_URL\n")
    assert refused.stderr.count("\n") == 1
