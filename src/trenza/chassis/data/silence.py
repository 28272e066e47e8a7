"""Why a database cannot be used, in words for operators, each with what helps; and which errors mean that it cannot."""

from __future__ import annotations

import shlex
import socket
import sqlite3
import ssl

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

__all__ = ["has_refused", "is_away", "silence_of"]

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_LOST = {sqlite3.SQLITE_IOERR, *_DAMAGED}
_SQLSTATES_LOST = ("08", "57P")
"""Errors that end a connection, or a file: a commit under way may have been done."""
_MAY_NOT = "let this user write the file and its folder, or name another --data-dir"
_SQLITE_REMEDIES = {
    sqlite3.SQLITE_BUSY: "end what else has it open, or try again",
    sqlite3.SQLITE_LOCKED: "end what else has it open, or try again",
    sqlite3.SQLITE_READONLY: _MAY_NOT,
    sqlite3.SQLITE_CANTOPEN: _MAY_NOT,
    sqlite3.SQLITE_FULL: "free some space on its disk",
    sqlite3.SQLITE_IOERR: "see whether its disk is there and sound",
}

_POSTGRES_PORT = 5432
_START = "start it, or correct TRENZA_DATABASE_URL"
_ENDED = "it has ended our connection, as when it stops: wait until it is back, or start it"
_SQLSTATES = (
    ("57P03", "it is starting, stopping or recovering: wait until it takes connections again"),
    ("57P", _ENDED),
    ("08003", _ENDED),
    ("08006", _ENDED),
    ("53300", "raise its max_connections, or run fewer processes"),
    ("53100", "free some space on its disk"),
    ("53", "give it more of what it lacks"),
    ("28", "correct user and password in TRENZA_DATABASE_URL, or let them in (CREATE ROLE, pg_hba.conf)"),
    ("08", _START),
)
"""PostgreSQL's states (Appendix A) in which no statement of ours is at fault, the closer ones first. 3D000 has its own words."""
_FAILURES: tuple[tuple[type[BaseException], str], ...] = (
    (socket.gaierror, "correct the host in TRENZA_DATABASE_URL"),
    (ssl.SSLError, "correct ssl=… in TRENZA_DATABASE_URL, or the certificate"),
    (TimeoutError, "start it, see whether it is overloaded or a firewall keeps us from it, or correct TRENZA_DATABASE_URL"),
    (TypeError, "correct what follows the ? of TRENZA_DATABASE_URL"),  # the driver takes each option for an argument
)
"""Where the server has said nothing."""
_NO_SUCH_DATABASE = "3D000"
_AWAY = (*(state for state, _ in _SQLSTATES), _NO_SUCH_DATABASE)


def is_away(error: DBAPIError) -> bool:
    """Whether the database itself is at fault, for now: gone, shutting down, full, locked, closed to us; not the statement."""
    away = _sqlite_code(error.orig) in _SQLITE_REMEDIES.keys() | _DAMAGED
    return error.connection_invalidated or away or _sqlstate(error.orig).startswith(_AWAY)


def has_refused(error: BaseException) -> bool:
    """Whether a commit that raised this has changed nothing for certain: the database itself says so, and lives on."""
    if not isinstance(error, DBAPIError) or error.connection_invalidated:
        return False
    return not (_sqlstate(error.orig).startswith(_SQLSTATES_LOST) or _sqlite_code(error.orig) in _LOST)


def silence_of(url: URL, schema: str, error: BaseException) -> str:
    """Why the database of a service cannot be used and what helps, in one line without the password of its URL."""
    cause = getattr(error, "orig", None) or error
    if url.get_backend_name() == "sqlite":
        return _silence_of_sqlite(url, schema, cause)
    place = url.query.get("host") or f"{url.host or 'localhost'}:{url.port or _POSTGRES_PORT}"
    state = _sqlstate(cause)
    what = "does not answer" if not state or state.startswith("08") else "cannot be used"
    return f"the database of {schema} {what}: PostgreSQL at {place}: {_first_line(cause)}; {_remedy(url, state, error)}"


def _remedy(url: URL, state: str, error: BaseException) -> str:
    if state == _NO_SUCH_DATABASE:
        return f"create it there with `createdb {shlex.quote(url.database or '')}`, or correct its name in TRENZA_DATABASE_URL"
    for known, remedy in _SQLSTATES:
        if state.startswith(known):
            return remedy
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return _ENDED
    return next((remedy for kind, remedy in _FAILURES if isinstance(error, kind)), _START)


def _silence_of_sqlite(url: URL, schema: str, cause: BaseException) -> str:
    code = _sqlite_code(cause)
    if code in _DAMAGED:
        return (
            f"the database of {schema} cannot be read: {url.database} is damaged or is no SQLite database; "
            "restore it from a backup, or move it away to begin with an empty one"
        )
    remedy = _SQLITE_REMEDIES.get(code, "try again, or restore it from a backup")
    return f"the database of {schema} does not answer: {url.database}: {_first_line(cause)}; {remedy}"


def _sqlstate(error: BaseException | None) -> str:
    return getattr(error, "sqlstate", None) or ""


def _sqlite_code(error: BaseException | None) -> int:
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF  # the rest is the extended code


def _first_line(error: BaseException) -> str:
    """What the driver says. Drivers name user, host and database, never the password."""
    said = str(error).partition("\n")[0].rpartition("'>: ")[2].strip()
    if _sqlstate(error) and said:
        return said  # by the server; SQLAlchemy puts an error of its own around it
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
