"""Statements that SQLite and PostgreSQL both have, but SQLAlchemy only in two dialects, or only with the values in the SQL.

A list of values is one parameter here. SQLAlchemy's own ``IN`` writes a placeholder for each: another text for each length, which
PostgreSQL would parse and plan anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Table
    from sqlalchemy.ext.asyncio import AsyncConnection
    from sqlalchemy.sql.compiler import SQLCompiler

__all__ = ["among", "are_held", "held_as_text", "insert_or_ignore", "numbers_as_text"]

_INSERTS: dict[tuple[str, str], Any] = {}


def insert_or_ignore(connection: AsyncConnection, table: Table) -> Any:
    """``INSERT … ON CONFLICT DO NOTHING``, whichever key the conflict is about."""
    dialect = connection.dialect.name
    if (dialect, table.name) not in _INSERTS:
        insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
        _INSERTS[dialect, table.name] = insert(table).on_conflict_do_nothing()
    return _INSERTS[dialect, table.name]


class _Condition(FunctionElement[bool]):
    type = sa.Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> Any:  # noqa: ARG002 - SQLAlchemy's signature
        """As it is: SQLAlchemy would show SQLite ``… = 1``, for which it uses no index."""
        return self


class _Among(_Condition):
    inherit_cache = True


class _AreHeld(_Condition):
    inherit_cache = True


def among(column: ColumnElement[int], parameter: str) -> ColumnElement[bool]:
    """Whether a whole number is among those of a parameter, which holds them as `numbers_as_text`."""
    return _Among(column, sa.bindparam(parameter, type_=sa.Text()))


def are_held(position: ColumnElement[int], token: ColumnElement[UUID], parameter: str) -> ColumnElement[bool]:
    """Whether a row is held under its token, by a parameter that holds pairs as `held_as_text`."""
    return _AreHeld(position, token, sa.bindparam(parameter, type_=sa.Text()))


def numbers_as_text(numbers: Iterable[int]) -> str:
    """The value of the parameter of `among`."""
    return orjson.dumps(list(numbers)).decode()


def held_as_text(held: Iterable[tuple[int, UUID]]) -> str:
    """The value of the parameter of `are_held`: positions and tokens."""
    return orjson.dumps([(position, token.hex) for position, token in held]).decode()


@compiles(_Among)
def _among_in_sqlite(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    column, numbers = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({numbers}))"  # noqa: S608 - made of compiled clauses


@compiles(_Among, "postgresql")
def _among_in_postgresql(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    column, numbers = (compiler.process(clause, **options) for clause in element.clauses)
    each = f"SELECT CAST(value AS bigint) FROM jsonb_array_elements_text(CAST({numbers} AS jsonb))"  # noqa: S608 - the same
    return f"{column} = ANY (ARRAY({each}))"


@compiles(_AreHeld)
def _held_in_sqlite(element: _AreHeld, compiler: SQLCompiler, **options: Any) -> str:
    position, token, held = (compiler.process(clause, **options) for clause in element.clauses)
    pairs = f"SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each({held})"  # noqa: S608 - made of compiled clauses
    return f"({position}, {token}) IN ({pairs})"


@compiles(_AreHeld, "postgresql")
def _held_in_postgresql(element: _AreHeld, compiler: SQLCompiler, **options: Any) -> str:
    position, token, held = (compiler.process(clause, **options) for clause in element.clauses)
    elements = f"jsonb_array_elements(CAST({held} AS jsonb))"
    pairs = f"SELECT CAST(value->>0 AS bigint), CAST(value->>1 AS uuid) FROM {elements}"  # noqa: S608 - the same
    return f"({position}, {token}) IN ({pairs})"
