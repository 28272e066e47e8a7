"""Log lines: one JSON object each in production, readable in development, with the context of the work and without secrets."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import FilteringBoundLogger, Processor

from trenza.chassis.context import active_context
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.telemetry.printable import printable
from trenza.chassis.telemetry.redaction import redact

__all__ = ["configure_logging", "get_logger"]

# These write parameters of statements, bodies or whole URLs at their lower levels, which would be personal data.
_KEPT_AT_WARNING = (
    *("aiobotocore", "aiosqlite", "alembic", "asyncio", "botocore", "httpcore", "httpx"),
    *("multipart", "python_multipart", "sqlalchemy", "uvicorn.access"),
)
_REROUTED = ("uvicorn", "uvicorn.error", "uvicorn.access", "sqlalchemy")
_SERVICES = "trenza.services."

_WRITTEN_AS_THEY_ARE = ("event", "exception", "stack", "level", "logger", "timestamp")
"""By structlog's `ConsoleRenderer`; all else as its repr."""
_LONGEST_SHOWN = 1000
"""Characters of one value in development."""

Line = MutableMapping[str, Any]


def get_logger(name: str) -> FilteringBoundLogger:
    """The logger of a module: a constant phrase is the event, what varies is named.

    ``_log = get_logger(__name__)``, then ``_log.info("photo stored", photo_id=photo.id, bytes=photo.bytes)``. Correlation id,
    service and subject come from the context by themselves.
    """
    if not structlog.is_configured():
        # structlog's own way to draw a traceback shows every local variable: tokens, keys, and whole bodies.
        plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
        structlog.configure(processors=[structlog.processors.add_log_level, plain])
    logger: FilteringBoundLogger = structlog.get_logger(name)
    return logger


def configure_logging(settings: PlatformSettings, *, stream: TextIO | None = None) -> None:
    """Send this process' log lines, those of the standard library's `logging` too, to standard error (or ``stream``).

    May be called again. Lines below ``settings.log_level`` are dropped.
    """
    level = getattr(logging, settings.log_level.upper())
    render = _render_json if settings.environment == "production" else _console(stream)
    processors: list[Processor] = [
        _add_context,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _redact,
        render,
    ]
    structlog.configure(
        processors=[_add_level_and_name, *processors],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *names: _Output(str(names[0]) if names else "", stream),
        cache_logger_on_first_use=False,  # a logger made before this call, at import, must follow it
    )
    logging.root.handlers[:] = [_Rerouted(processors, stream)]
    logging.root.setLevel(level)
    for name in _REROUTED:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    for name in _KEPT_AT_WARNING:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


class _Output:
    """Writes rendered lines. The stream is looked up at each line, for tests and supervisors replace `sys.stderr`."""

    def __init__(self, name: str, stream: TextIO | None) -> None:
        self.name = name
        self._stream = stream

    def msg(self, line: str) -> None:
        """Write one line with one call, so that lines of several threads do not mix."""
        stream = self._stream or sys.stderr
        stream.write(f"{line}\n")
        stream.flush()

    debug = info = warning = error = critical = exception = fatal = log = msg


class _Rerouted(logging.Handler):
    """Takes the records of `logging` through the same processors."""

    def __init__(self, processors: list[Processor], stream: TextIO | None) -> None:
        super().__init__()
        self._processors = processors
        self._output = _Output("", stream)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            line: Any = {"event": record.getMessage(), "level": record.levelname.lower(), "logger": record.name}
            if record.exc_info:
                line["exc_info"] = record.exc_info
            for process in self._processors:
                line = process(self._output, record.levelname.lower(), line)
            self._output.msg(line)
        except Exception:  # noqa: BLE001 - the contract of logging.Handler: what goes wrong here must not reach the caller
            self.handleError(record)


def _add_level_and_name(logger: _Output, method: str, line: Line) -> Line:
    line["level"] = "error" if method == "exception" else method
    if logger.name:
        line["logger"] = logger.name
    return line


def _add_context(_logger: object, _method: str, line: Line) -> Line:
    context = active_context()
    if context is not None:
        line.setdefault("correlation_id", context.correlation_id)
        if context.principal.kind != "anonymous":
            line.setdefault("subject", context.principal.subject)
        if context.service is not None:
            line.setdefault("service", context.service)
    name = line.get("logger", "")
    if "service" not in line and name.startswith(_SERVICES):
        line["service"] = name.removeprefix(_SERVICES).split(".", 1)[0]
    return line


def _redact(_logger: object, _method: str, line: Line) -> Line:
    redacted: Line = redact(line)
    return redacted


def _render_json(_logger: object, _method: str, line: Line) -> str:
    try:
        return orjson.dumps(line).decode()
    except TypeError:  # integers over 64 bits and lone surrogates, which orjson refuses
        return json.dumps(line)


def _console(stream: TextIO | None) -> Processor:
    target = stream or sys.stderr
    colours = target.isatty() or "FORCE_COLOR" in os.environ  # for who collects the lines of several processes
    draw = structlog.dev.ConsoleRenderer(colors=colours and "NO_COLOR" not in os.environ, repr_native_str=True)

    def render(logger: Any, method: str, line: Line) -> Any:
        return draw(logger, method, {name: _presentable(name, value) for name, value in line.items()})

    return render


def _presentable(name: str, value: Any) -> Any:
    """A value that cannot steer a terminal, fill it, or begin a line that looks like one of ours.

    Those under most names are written as their repr, which escapes all that is not printable.
    """
    if name in _WRITTEN_AS_THEY_ARE:
        return printable(str(value), keep="\n\t").replace("\n", "\n  ")
    if isinstance(value, str):
        return value if len(value) <= _LONGEST_SHOWN else f"{value[:_LONGEST_SHOWN]}… ({len(value)} characters)"
    shown = repr(value)
    return value if len(shown) <= _LONGEST_SHOWN else _presentable(name, shown)
