"""No secret passes into a log line, wherever it hides."""

from __future__ import annotations

import io
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from trenza.chassis.settings import PlatformSettings
from trenza.chassis.telemetry.logs import configure_logging, get_logger
from trenza.chassis.telemetry.redaction import MASK, redact, redact_text

SECRET = "Zk9qv7XwPq4Rt2"
TELLING = st.sampled_from(
    [
        "password", "Password", "db_password", "passwd", "passphrase", "secret", "client_secret", "token", "accessToken",
        "refresh-token", "X-Api-Key", "apiKey", "api key", "Authorization", "Proxy-Authorization", "cookie", "Set-Cookie",
        "X-Amz-Signature", "signature", "private_key", "AWS_SECRET_ACCESS_KEY", "aws_access_key_id", "credentials", "sig", "jwt",
    ]
)  # fmt: skip
HARMLESS = st.sampled_from(["event", "photo_id", "path", "user", "items", "detail", "ü", "", "a b"])
LEAF = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20) | st.binary(max_size=20)


@dataclass
class Login:
    """A dataclass with a secret."""

    user: str
    password: Any


class Settings(BaseModel):
    """A model with a secret."""

    token: Any
    name: str = "n"


class Client:
    """An object that has only a repr."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def __repr__(self) -> str:
        return f"Client(user='u', api_key={self._secret!r}, retries=3)"


def hiding_places() -> st.SearchStrategy[Any]:
    """Values that hold the secret in a way that tells that it is one."""
    jwt = f"eyJhbGciOiJFZERTQSJ9.{SECRET}.{SECRET}"
    return st.sampled_from(
        [
            f"Bearer {SECRET}",
            f"authorization: Basic {SECRET}",
            f"Authorization: Digest a=1, b={SECRET}",
            jwt,
            f"x {jwt} y",
            f"https://h/blobs/a.jpg?expires=1&signature={SECRET}",
            f"?X-Amz-Credential={SECRET}%2F2026&X-Amz-Signature={SECRET}&z=1",
            f"/cb?code=1&access_token={SECRET}#x",
            f'{{"password": "{SECRET}", "user": "u"}}',
            f"password={SECRET}",
            f"password: '{SECRET}'",
            f"Cookie: a=1; session={SECRET}",
            f"postgresql+asyncpg://user:{SECRET}@host/db",
            f"amqp://u:{SECRET}/x@y@host:5672//",
            f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----",
            repr({"token": [SECRET, "a"]}),
            repr([(b"cookie", SECRET.encode())]),
            f"TRENZA_BLOBS_SECRET={SECRET}",
            f"api-key: {SECRET}",
            f"bearer%20{SECRET}",
            Login("u", SECRET),
            Settings(token=SECRET),
            Client(SECRET),
            SecretStr(SECRET),
            ("cookie", SECRET),
            [b"Authorization", SECRET],
            SECRET.encode(),
            bytearray(SECRET.encode()),
            {"a": Login("u", {"deep": [SECRET]})},
            RuntimeError(f"token={SECRET}"),
            f"CredentialsError: {SECRET}",
            f"InvalidTokenException: {SECRET} is not valid",
            f"TokenError: Token={SECRET} is not valid",
            f"PasswordError: Wrong password: {SECRET}",
            f"NoCredentialsError='{SECRET}'",
        ]
    )


def structures() -> st.SearchStrategy[Any]:
    """Nested values with the secret somewhere inside, beside much that is harmless."""

    def around(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.one_of(
            st.tuples(HARMLESS, inner, HARMLESS, LEAF).map(
                lambda made: {made[0]: made[1], made[2]: made[3]} | {made[0]: made[1]}
            ),
            st.tuples(LEAF, inner, LEAF).map(list),
            st.tuples(inner, LEAF),
            inner.map(lambda value: Login("u", value)),
        )

    under_a_name = st.tuples(TELLING, st.just(SECRET) | st.just([SECRET]) | st.just({"x": SECRET})).map(
        lambda pair: {pair[0]: pair[1]}
    )
    return st.recursive(hiding_places() | under_a_name, around, max_leaves=4)


@given(structures())
def test_a_secret_never_shows(value: Any) -> None:
    assert SECRET not in json.dumps(redact(value), default=repr)


@given(structures(), st.sampled_from(["development", "production"]))
def test_a_secret_never_reaches_the_log(value: Any, environment: Any) -> None:
    stream = io.StringIO()
    configure_logging(PlatformSettings(environment=environment), stream=stream)
    log = get_logger("test")
    log.info("something happened", value=value)
    log.info(f"value {value}" if isinstance(value, str) else "no text")
    log.error("it broke", exc_info=RuntimeError(value if isinstance(value, str) else "no text"))
    assert "something happened" in stream.getvalue()
    assert SECRET not in stream.getvalue()


@given(st.recursive(LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)))
def test_anything_can_be_redacted(value: Any) -> None:
    json.dumps(redact(value))


@pytest.mark.parametrize(
    "text",
    [
        "photo stored", "/api/photos/0190a1b2-aaaa", "GET https://host:8000/api/photos?upid=UP-1", "3 items", "key=value",
        "host:5432", "the passenger list", "author: x", "2026-01-01T00:00:00Z", "eyJ", "sqlite+aiosqlite:///data/photos.db",
        "basically", "", "NoCredentialsError: Unable to locate credentials",
        "botocore.exceptions.TokenRetrievalError: Error when retrieving it from sso",
        "ExpiredTokenException: The security of it is expired",
    ],
)  # fmt: skip
def test_what_is_no_secret_stays_as_it_is(text: str) -> None:
    assert redact_text(text) == text
    assert redact({"event": text, "n": 1, "none": None}) == {"event": text, "n": 1, "none": None}


def test_what_stands_around_a_secret_stays() -> None:
    assert redact_text("GET /a?x=1&signature=abc&y=2 HTTP") == f"GET /a?x=1&signature={MASK}&y=2 HTTP"
    assert redact_text("postgresql://me:pw@db/x") == f"postgresql://me:{MASK}@db/x"
    assert redact_text("see Bearer abc.def, then go on") == f"see Bearer {MASK}, then go on"
    assert redact_text(f"/x?token={quote('a b+c')}&z=1") == f"/x?token={MASK}&z=1"


def test_things_become_what_json_can_hold() -> None:
    identity, moment = UUID(int=1), datetime(2026, 1, 1, tzinfo=UTC)
    assert redact({"id": identity, "at": moment, "path": Path("/a"), 5: (1, 2), b"k": {3}}) == {
        "id": str(identity), "at": str(moment), "path": "/a", "5": [1, 2], "k": [3],
    }  # fmt: skip
    assert redact(b"file content") == "<12 bytes>"
    assert redact([Login("u", "p")]) == [{"user": "u", "password": MASK}]


def test_a_broken_repr_does_not_break_the_log() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert redact(Broken()) == "<Broken: its repr raised RuntimeError>"


def test_what_is_endless_is_cut() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert len(json.dumps(redact(endless))) < 100
    assert len(redact("x" * 10_000_000)) < 40_000
    assert len(redact({"many": range(10_000)})["many"]) == 200


@pytest.mark.parametrize(
    "hostile", ["token" * 6000, "token='" * 4000, "a" * 30_000 + "token=", "://" + "b:" * 15_000, "password=[" * 3000]
)
def test_no_text_makes_it_slow(hostile: str) -> None:
    began = time.process_time()
    redact_text(hostile)
    assert time.process_time() - began < 2.0
