"""The diary of a building site: an application as people write them. It knows nothing of Trenza.

Alone: ``uvicorn site_diary.main:app``.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

__all__ = ["Diary", "Entry", "app"]

_TABLE = """
CREATE TABLE IF NOT EXISTS entries (
  id INTEGER PRIMARY KEY, project TEXT NOT NULL, text TEXT NOT NULL, written_at TEXT NOT NULL, reference TEXT UNIQUE
)
"""


class NewEntry(BaseModel):
    """What somebody writes down."""

    text: str


class Entry(NewEntry):
    """A line of the diary."""

    id: int
    project: str
    written_at: datetime


class LineEmpty(Exception):
    """Nothing was written."""


class Diary:
    """The lines of all projects, in a SQLite file."""

    def __init__(self, path: str) -> None:
        self._path = path
        with closing(self._connect()) as connection, connection:
            connection.execute(_TABLE)

    def write(self, project: str, text: str, *, reference: str | None = None) -> None:
        """Add a line. Of two with the same reference only the first is kept."""
        if not text.strip():
            raise LineEmpty
        line = (project, text.strip(), datetime.now(UTC).isoformat(), reference)
        with closing(self._connect()) as connection, connection:
            connection.execute("INSERT OR IGNORE INTO entries (project, text, written_at, reference) VALUES (?, ?, ?, ?)", line)

    def read(self, project: str) -> list[Entry]:
        """The lines of a project, the oldest first."""
        with closing(self._connect()) as connection:
            query = "SELECT id, project, text, written_at FROM entries WHERE project = ? ORDER BY id"
            return [Entry.model_validate(dict(row)) for row in connection.execute(query, (project,))]

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path)
        connection.row_factory = sqlite3.Row
        return connection


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the diary for as long as the application runs."""
    app.state.diary = Diary(os.environ.get("SITE_DIARY_FILE", "site-diary.sqlite3"))
    yield
    del app.state.diary


def get_diary(request: Request) -> Diary:
    """The open diary."""
    diary: Diary = request.app.state.diary
    return diary


app = FastAPI(title="Site diary", lifespan=lifespan)
OpenDiary = Annotated[Diary, Depends(get_diary)]


@app.exception_handler(LineEmpty)
async def say_that_a_line_is_empty(_request: Request, _error: LineEmpty) -> JSONResponse:
    """Answer in the application's own way."""
    return JSONResponse({"error": "write something"}, status_code=400)


@app.get("/ping")
def ping() -> dict[str, str]:
    """Say that the application is there."""
    return {"status": "ok"}


@app.get("/projects/{project}/entries")
def read_entries(project: str, diary: OpenDiary) -> list[Entry]:
    """The lines of a project."""
    entries = diary.read(project)
    if not entries:
        raise HTTPException(404, "nobody has written about this project")
    return entries


@app.post("/projects/{project}/entries", status_code=201)
def write_entry(project: str, entry: NewEntry, diary: OpenDiary) -> list[Entry]:
    """Add a line, and show all."""
    diary.write(project, entry.text)
    return diary.read(project)
