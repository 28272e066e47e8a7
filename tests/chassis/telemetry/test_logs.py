"""Log lines: their form, their context, and the standard library's records among them."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from typing import Any, Literal

import pytest

from trenza.chassis.context import Context, Principal, use_context
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.telemetry.logs import configure_logging, get_logger

EARLY = get_logger("trenza.made.before.the.configuration")


def configured(environment: Literal["development", "production"] = "production", level: Any = "info") -> io.StringIO:
    stream = io.StringIO()
    configure_logging(PlatformSettings(environment=environment, log_level=level), stream=stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_in_production_is_one_json_object() -> None:
    stream = configured()
    EARLY.warning("disk nearly full", free_bytes=12, note="two\nlines")
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "disk nearly full", "level": "warning", "logger": "trenza.made.before.the.configuration", "free_bytes": 12,
        "note": "two\nlines",
    }  # fmt: skip


def test_the_context_comes_by_itself() -> None:
    stream = configured()
    context = Context(correlation_id="c-1", principal=Principal(subject="ana", scopes=("photos:editor",)), service="photos")
    with use_context(context):
        get_logger("x").info("inside")
        logging.getLogger("some.library").warning("inside too")
    with use_context(Context(correlation_id="c-2")):
        get_logger("x").info("anonymous")
    get_logger("x").info("outside")
    inside, library, anonymous, outside = lines(stream)
    assert {k: inside[k] for k in ("correlation_id", "subject", "service")} == {
        "correlation_id": "c-1",
        "subject": "ana",
        "service": "photos",
    }
    assert library["correlation_id"] == "c-1"
    assert anonymous["correlation_id"] == "c-2"
    assert "subject" not in anonymous
    assert "correlation_id" not in outside


FAILING = """
def fail(given):
    hidden = "not to be shown: " + given
    try:
        raise RuntimeError("it broke")
    except RuntimeError:
        log.exception("failed")

fail("x")
"""


@pytest.mark.parametrize(
    "before",
    [
        "from trenza.chassis.telemetry.logs import get_logger",
        (
            "from trenza.chassis.telemetry.logs import configure_logging, get_logger\n"
            "from trenza.chassis.settings import PlatformSettings\n"
            "configure_logging(PlatformSettings())"
        ),
    ],
    ids=["nobody configured it", "development"],
)
def test_a_traceback_shows_where_it_happened_and_no_local_variables(before: str) -> None:
    command = [sys.executable, "-c", f"{before}\nlog = get_logger('x')\n{FAILING}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own interpreter
    said = done.stdout + done.stderr
    assert "RuntimeError: it broke" in said
    assert "fail" in said
    assert "not to be shown: " not in said.replace('"not to be shown: " + given', "")


def test_a_service_is_named_by_its_module() -> None:
    stream = configured()
    get_logger("trenza.services.images.engine.pool").info("started")
    get_logger("trenza.chassis.http.problem").info("started")
    first, second = lines(stream)
    assert first["service"] == "images"
    assert "service" not in second


def test_what_is_below_the_level_is_dropped() -> None:
    stream = configured(level="warning")
    get_logger("x").info("quiet")
    logging.getLogger("x").info("quiet")
    get_logger("x").error("loud")
    logging.getLogger("x").error("loud")
    assert [line["event"] for line in lines(stream)] == ["loud", "loud"]


def test_exceptions_come_with_their_trace() -> None:
    stream = configured()
    try:
        int("the cause")
    except ValueError as error:
        get_logger("x").exception("it broke")
        get_logger("x").error("it broke", exc_info=error)
        logging.getLogger("y").exception("it %s", "broke")
    for line in lines(stream):
        assert line["event"] == "it broke"
        assert line["level"] == "error"
        assert "ValueError: invalid literal" in line["exception"]
        assert "test_logs.py" in line["exception"]


def test_the_standard_library_takes_the_same_way() -> None:
    stream = configured()
    logging.getLogger("uvicorn.error").info("Started server process [%d]", 12)
    logging.getLogger("a.library").warning("connecting to %s", "amqp://user:hunter2@broker/")
    started, connecting = lines(stream)
    assert (started["event"], started["level"], started["logger"]) == ("Started server process [12]", "info", "uvicorn.error")
    assert "hunter2" not in connecting["event"]


@pytest.mark.parametrize(
    "library", ["sqlalchemy.engine.Engine", "aiosqlite", "httpx", "python_multipart.multipart", "uvicorn.access"]
)
def test_libraries_that_would_write_data_are_kept_quiet(library: str) -> None:
    stream = configured(level="debug")
    logging.getLogger(library).info("INSERT … [parameters: ('Ana', 'ana@example.org')]")
    logging.getLogger(library).debug("body b'…'")
    logging.getLogger(library).warning("worth knowing")
    assert [line["event"] for line in lines(stream)] == ["worth knowing"]


def test_what_json_cannot_hold_is_logged_all_the_same() -> None:
    stream = configured()
    get_logger("x").info("odd", big=2**80, lone="\ud800", nan=float("nan"), thing=object(), key={(1, 2): 3})
    logging.getLogger("x").warning("%s", "\udc80")
    odd, text = lines(stream)
    assert odd["big"] == 2**80
    assert odd["key"] == {"(1, 2)": 3}
    assert text["event"] == "\udc80"


def test_a_record_that_cannot_be_written_does_not_reach_the_caller(capsys: pytest.CaptureFixture[str]) -> None:
    configured()
    logging.getLogger("x").warning("%d items", "not a number")
    assert "not a number" in capsys.readouterr().err


def test_development_is_readable_and_safe_for_the_terminal() -> None:
    stream = configured("development")
    get_logger("x").info("request", path="/a\x1b[31m\nforged line")
    written = stream.getvalue()
    assert "request" in written
    assert "\x1b" not in written
    assert written.count("\n") == 1


def test_what_others_say_cannot_steer_the_terminal_of_a_developer_or_fill_it() -> None:
    steering = "\x1b[31m\x9b2J\u202e\n2026-01-01T00:00:00Z [info     ] forged"
    stream = configured("development")
    logging.getLogger("a.library").warning("it got %s", steering)
    get_logger("x").warning("type", type=steering, huge="x" * 5000, many=[steering] * 150)
    get_logger("x").error("it broke", exc_info=ValueError(steering))
    written = stream.getvalue()
    assert written.replace("\n", "").isprintable()
    assert not any(line.startswith("2026-01-01") for line in written.splitlines())
    assert max(map(len, written.splitlines())) < 4000
    assert "(5000 characters)" in written
    assert "ValueError: \\x1b[31m" in written


def test_lines_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(PlatformSettings(environment="production"))
    get_logger("x").info("to stderr")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "to stderr"
    assert sys.stderr is not None


def test_configuring_again_does_not_double_lines() -> None:
    configured()
    stream = configured()
    logging.getLogger("x").warning("once")
    get_logger("x").warning("once")
    assert len(lines(stream)) == 2
