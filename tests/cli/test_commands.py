from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import httpx
import jwt
import pytest
from typer.testing import Result

from trenza.chassis.auth.keys import SigningKey
from trenza.chassis.testing.redis_server import RedisServer
from trenza.chassis.testing.server_process import ServerProcess, free_port

Trenza = Callable[..., Result]


def test_the_help_lists_every_command(trenza: Trenza) -> None:
    said = trenza("--help").stdout
    for command in ("up", "token", "migrate", "doctor", "version", "photos", "tasks", "dead-letters"):
        assert f" {command} " in said


HEAVY = {
    *("PIL", "numpy", "pi_heif", "pyvips"),
    *("alembic", "asyncpg", "cryptography", "fastapi", "httpx", "pydantic_settings", "sqlalchemy"),
}


def loaded_by(code: str) -> set[str]:
    """Which of the heavy packages a fresh interpreter has loaded after this code."""
    report = f"{code}\nimport sys, json\njson.dump(sorted(sys.modules), sys.stdout)"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)  # noqa: S603 - our own code
    return HEAVY & set(json.loads(done.stdout.splitlines()[-1]))


def test_the_help_loads_nothing_heavy() -> None:
    """This is what keeps it under 200 ms, on a machine of any speed."""
    code = "from trenza.cli.commands import app\ntry:\n    app(['--help'])\nexcept SystemExit:\n    pass"
    assert loaded_by(code) == set()


def test_the_api_process_loads_no_library_of_images_or_of_clients() -> None:
    """This is what keeps its cold import under a second; images are the worker processes' business."""
    code = (
        "import trenza.cli.serving\nfrom trenza.chassis.runtime.loading import load_services\nload_services(('photos', 'images'))"
    )
    assert loaded_by(code) == {"cryptography", "fastapi", "pydantic_settings", "sqlalchemy"}


def test_the_version(trenza: Trenza) -> None:
    assert trenza("version").stdout == f"trenza {version('trenza')}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing",), "No such command 'nothing'"),
        (("up", "--port", "x"), "Invalid value for '--port'"),
        (("token",), "Missing argument"),
        (("token", "--ttl", "soon", "photos:editor"), "--ttl is 'soon'; write a number and s, m, h or d"),
        (("token", "--ttl", "999d", "photos:editor"), "at most 366d"),
        (("token", "--subject", " ", "photos:editor"), "--subject is empty"),
        (("token", "--subject", "ana\nberta", "photos:editor"), "--subject has unprintable characters; write a name"),
        (("token", "--subject", "ana\x1b[2J", "photos:editor"), "at most 255 printable characters on one line"),
        (("token", "--subject", "a" * 256, "photos:editor"), "--subject has 256 characters; write a name of at most 255"),
        (("photos", "put", "x.jpg"), "Missing option '--upid'"),
        (("photos", "put", "none.jpg", "--upid", "A"), "none.jpg does not exist; check the path"),
        (("photos", "put", "/dev/zero", "--upid", "A"), "/dev/zero is not a file"),
        (("photos", "put", "pyproject.toml", "--upid", "A", "--token", "é"), "the token holds characters that no token has"),
        (("photos", "put", "*.jpg", "--upid", "A"), "matches no file; leave patterns unquoted"),
        (("photos", "put", ".", "--upid", "A"), ". is a folder; name its files, for example ./*.jpg"),
        (("dead-letters", "discard"), "name the dead letters to discard by their ids, or say --all"),
        (("dead-letters", "redrive", "--all"), "--all needs --yes where nobody can be asked"),
        (("tasks", "list", "--state", "lost"), "--state is 'lost'; choose one of waiting, running"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(trenza: Trenza, arguments: tuple[str, ...], said: str) -> None:
    result = trenza(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert said in result.stderr
    assert result.stderr.startswith("trenza: ")
    assert result.stderr.count("\n") == 1


def test_a_token_is_alone_on_standard_output_and_works_before_the_first_start(trenza: Trenza, tmp_path: Path) -> None:
    arguments = ("--data-dir", tmp_path / "data", "--subject", "ana", "--ttl", "30m", "photos:editor", "photos:viewer")
    result = trenza("token", *arguments)
    assert result.exit_code == 0
    assert result.stderr == ""
    claims = jwt.decode(result.stdout.strip(), options={"verify_signature": False})
    assert result.stdout.count("\n") == 1
    assert claims["sub"] == "ana"
    assert claims["scope"] == "photos:editor photos:viewer"
    assert claims["exp"] - claims["iat"] == 1800
    assert ((tmp_path / "data").stat().st_mode & 0o777) == 0o700


def test_a_scope_that_nobody_declares_is_refused_with_those_that_exist(trenza: Trenza, tmp_path: Path) -> None:
    result = trenza("token", "--data-dir", tmp_path / "data", "photos:boss")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("trenza: unknown scope photos:boss; known: photos:admin, photos:editor")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()
    broken = trenza("token", "--data-dir", tmp_path / "data", "photos:editor@A\nB")
    assert broken.stderr.startswith(r"trenza: unknown scope 'photos:editor@A\nB'; known: photos:admin")
    assert broken.stderr.count("\n") == 1


def test_a_token_may_be_for_one_unit(trenza: Trenza, tmp_path: Path) -> None:
    made = trenza("token", "--data-dir", tmp_path / "data", "photos:viewer@NORTE")
    assert made.exit_code == 0
    claims = jwt.decode(made.stdout.strip(), options={"verify_signature": False})
    assert claims["scope"] == "photos:viewer@NORTE"
    refused = trenza("token", "--data-dir", tmp_path / "data", "photos:viewer@")
    assert refused.stderr.startswith("trenza: unknown scope photos:viewer@;")


def test_production_signs_with_a_named_key_only(trenza: Trenza, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")
    refused = trenza("token", "--data-dir", tmp_path / "data", "photos:editor")
    assert refused.exit_code == 1
    assert "production uses no local key: set TRENZA_SIGNING_KEY_FILE" in refused.stderr
    key = SigningKey.load_or_create(tmp_path / "key.pem")
    monkeypatch.setenv("TRENZA_SIGNING_KEY_FILE", str(tmp_path / "key.pem"))
    made = trenza("token", "--data-dir", tmp_path / "data", "photos:editor")
    assert jwt.get_unverified_header(made.stdout.strip())["kid"] == key.kid


def test_bad_settings_are_a_line_each(trenza: Trenza, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRENZA_DRAIN_SECONDS", "soon")
    monkeypatch.setenv("TRENZA_LOG_LEVEL", "loud")
    result = trenza("up", "--data-dir", tmp_path / "data", "--port", "0")
    assert result.exit_code == 1
    assert "TRENZA_DRAIN_SECONDS is 'soon'" in result.stderr
    assert "TRENZA_LOG_LEVEL is 'loud'" in result.stderr


def test_a_deployment_that_does_not_exist_is_refused(trenza: Trenza, tmp_path: Path) -> None:
    result = trenza("up", "--data-dir", tmp_path / "data", "--deployment", "nowhere")
    assert result.exit_code == 1
    assert result.stderr == (
        "trenza: deployment 'nowhere': ships with no such name; known: monolith, split, or give the path of a .toml\n"
    )


def test_a_port_in_use_is_one_line(trenza: Trenza, tmp_path: Path) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        result = trenza("up", "--data-dir", tmp_path / "data", "--port", str(port))
    assert result.exit_code == 1
    said = f"trenza: port {port} on 127.0.0.1 is in use: stop what uses it, or choose another (--port, or its url)\n"
    assert result.stderr.endswith(said)
    assert not (tmp_path / "data").exists()


def test_migrate_makes_the_databases_and_says_so(trenza: Trenza, tmp_path: Path) -> None:
    first = trenza("migrate", "--data-dir", tmp_path / "data")
    assert first.exit_code == 0
    assert first.stdout.startswith("photos: migrated (sqlite+aiosqlite:///")
    assert (tmp_path / "data" / "db" / "photos.sqlite3").exists()
    assert trenza("migrate", "--data-dir", tmp_path / "data").stdout.startswith("photos: up to date")


def test_migrate_tells_when_a_database_does_not_answer(trenza: Trenza, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRENZA_DATABASE_URL", "postgresql://nobody:hunter2@127.0.0.1:9/none")
    result = trenza("migrate", "--data-dir", tmp_path / "data")
    assert result.exit_code == 1
    assert "the database of photos does not answer: PostgreSQL at 127.0.0.1:9" in result.stderr
    assert "start it, or correct TRENZA_DATABASE_URL" in result.stderr
    assert "hunter2" not in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_damaged_database_is_named_with_what_helps(trenza: Trenza, tmp_path: Path) -> None:
    file = tmp_path / "data" / "db" / "photos.sqlite3"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"no database at all " * 500)
    for command in (("migrate",), ("tasks", "list")):
        result = trenza(*command, "--data-dir", tmp_path / "data")
        assert result.exit_code == 1
        assert f"{file} is damaged or is no SQLite database; restore it from a backup" in result.stderr
        assert result.stderr.count("\n") == 1


def test_the_doctor_finds_a_sound_machine_sound_and_makes_nothing(trenza: Trenza, tmp_path: Path) -> None:
    result = trenza("doctor", "--data-dir", tmp_path / "data", "--port", str(free_port()))
    assert result.exit_code == 0, result.stdout
    for what in (
        "python",
        "libvips",
        "memory",
        "cores",
        "clock",
        "data folder",
        "disk",
        "port",
        "signing key",
        "database photos",
    ):
        assert any(line.split(maxsplit=1)[1].startswith(what) for line in result.stdout.splitlines()), what
    assert "fail" not in {line.split()[0] for line in result.stdout.splitlines()}
    assert not (tmp_path / "data").exists()
    (tmp_path / "data").mkdir()
    assert trenza("doctor", "--data-dir", tmp_path / "data", "--port", str(free_port())).exit_code == 0
    assert not (tmp_path / "data" / "db").exists()


def test_the_doctor_names_the_remedy_of_what_is_wrong(trenza: Trenza, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("not a folder")
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("TRENZA_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/none")
    monkeypatch.setenv("TRENZA_DRAIN_SECOND", "5")
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        result = trenza("doctor", "--data-dir", occupied / "data", "--port", str(port))
    assert result.exit_code == 1
    said = result.stdout
    assert "TRENZA_DRAIN_SECOND is set but nothing reads it → correct its name, or unset it" in said
    assert "TRENZA_SIGNING_KEY_FILE is not set: name the PEM file" in said
    assert "PostgreSQL at 127.0.0.1:9: ConnectionRefusedError" in said
    assert "start it, or correct TRENZA_DATABASE_URL" in said
    assert f"{port} is in use → is Trenza running already?" in said
    assert any(line.startswith("fail") and "data folder" in line for line in said.splitlines())


def test_the_doctor_tells_how_a_database_is_created(
    trenza: Trenza, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_url: str
) -> None:
    monkeypatch.setenv("TRENZA_DATABASE_URL", postgres_url.replace("/test_", "/no_"))
    result = trenza("doctor", "--data-dir", tmp_path / "data", "--port", str(free_port()))
    assert result.exit_code == 1
    [line] = [line for line in result.stdout.splitlines() if line.startswith("fail")]
    assert "database photos" in line
    assert re.search(r'"(no_\w+)" does not exist; create it there with `createdb \1`, or correct its name', line)


async def test_a_token_that_the_server_does_not_trust_is_traced(trenza: Trenza, server: ServerProcess, tmp_path: Path) -> None:
    """A shell may have kept one of a data folder that has been started afresh."""
    stale = (await asyncio.to_thread(trenza, "token", "--data-dir", tmp_path / "old", "photos:viewer")).stdout.strip()
    photo_id = "01a2005d-c6c6-765d-acc2-27abbe5eb2bd"
    refused = await asyncio.to_thread(trenza, "photos", "get", photo_id, "--url", server.url, "--token", stale)
    assert refused.exit_code == 1
    assert "not trusted" in refused.stderr
    assert "(401, the one of --token or TRENZA_TOKEN, else of the key in --data-dir)" in refused.stderr
    assert refused.stderr.count("\n") == 1


async def test_the_doctor_knows_a_server_that_runs(trenza: Trenza, server: ServerProcess) -> None:
    result = await asyncio.to_thread(trenza, "doctor", "--data-dir", server.data_dir, "--port", str(httpx.URL(server.url).port))
    assert result.exit_code == 0
    assert "Trenza runs there already" in result.stdout
    assert "warn" not in result.stdout


def test_the_doctor_reports_settings_that_cannot_be_read(trenza: Trenza, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRENZA_WORKER_CONCURRENCY", "none")
    result = trenza("doctor")
    assert result.exit_code == 1
    assert "TRENZA_WORKER_CONCURRENCY is 'none'" in result.stdout


def test_messages_of_a_folder_that_was_never_used_are_refused(trenza: Trenza, tmp_path: Path) -> None:
    result = trenza("tasks", "list", "--data-dir", tmp_path / "data")
    assert result.exit_code == 1
    assert "has no database at" in result.stderr
    assert "name the right --data-dir, or start it once" in result.stderr
    other = trenza("tasks", "list", "--data-dir", tmp_path / "data", "--service", "nobody")
    assert other.exit_code == 2
    assert "--service is 'nobody'; those with messages: photos" in other.stderr


def test_a_client_that_cannot_connect_says_how_to_name_another_server(trenza: Trenza, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    photo_id = "01a2005d-c6c6-765d-acc2-27abbe5eb2bd"
    arguments = ("photos", "get", photo_id, "--version", "large", "-o", tmp_path / "large.jpg", "--token", "x")
    result = trenza(*arguments, "--url", url)
    assert result.exit_code == 1
    assert result.stderr == (
        f"trenza: {url} does not answer (no connection): start it with `trenza up`, or name another with --url or TRENZA_URL\n"
    )


def test_the_client_needs_a_server_and_a_token(trenza: Trenza, tmp_path: Path, make_photo: Callable[[str], Path]) -> None:
    photo = make_photo("a.jpg")
    url = f"http://127.0.0.1:{free_port()}"
    nobody = trenza("photos", "put", photo, "--upid", "A", "--url", url, "--data-dir", tmp_path / "data")
    assert nobody.exit_code == 2
    assert "no token: give one with --token or TRENZA_TOKEN" in nobody.stderr
    trenza("token", "--data-dir", tmp_path / "data", "photos:editor")  # makes the key
    elsewhere = trenza("photos", "put", photo, "--upid", "A", "--url", "https://photos.example", "--data-dir", tmp_path / "data")
    assert elsewhere.exit_code == 2  # the local key's token is never sent to another machine
    wrong = trenza("photos", "get", "01a2005d-c6c6-765d-acc2-27abbe5eb2bd", "--url", "nowhere", "--token", "x")
    assert wrong.exit_code == 2
    assert "--url is 'nowhere'; write it like http://127.0.0.1:8000" in wrong.stderr


async def test_the_doctor_asks_redis_and_shows_no_password(
    trenza: Trenza, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRENZA_REDIS_TIMEOUT_SECONDS", "5")
    arguments = ("doctor", "--data-dir", tmp_path / "data", "--port", str(free_port()))
    async with RedisServer.running() as redis:
        monkeypatch.setenv("TRENZA_REDIS_URL", redis.url)
        found = await asyncio.to_thread(trenza, *arguments)
    lost = await asyncio.to_thread(trenza, *arguments)
    assert "rate limits are counted there" in found.stdout
    assert f"Redis at 127.0.0.1:{redis.port}" in lost.stdout
    assert "check TRENZA_REDIS_URL" in lost.stdout
    assert redis.password not in found.stdout + lost.stdout
    monkeypatch.setenv("TRENZA_REDIS_URL", "http://redis")
    refused = await asyncio.to_thread(trenza, *arguments)
    assert "TRENZA_REDIS_URL is no address of a Redis" in refused.stdout
    assert refused.exit_code == 1
