from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.chassis.gateway.serving import Script, answering, door, scripted

from trenza.chassis.auth.tokens import issue_token
from trenza.chassis.gateway import GatewayRoute, Move
from trenza.chassis.gateway.figures import SHADOWED
from trenza.chassis.gateway.strangler import Moves, share_of

Act = Callable[[Script, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
TRUSTED = {"trusted_proxies": "127.0.0.1/32"}


def saying(body: bytes, *, status: bytes = b"200 OK", kind: bytes = b"text/plain") -> Act:
    async def act(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (status, kind, len(body))
        await answering(script, reader, writer, head + body)

    return act


def photos(upstream: Script) -> GatewayRoute:
    return GatewayRoute("photos", ("/api/photos",), (upstream.url,))


def moving(legacy: Script, percent: float, *, shadow: bool = False) -> dict[str, Any]:
    return {"legacy": legacy.url, "moves": [{"prefix": "/api/photos", "percent": percent, "shadow": shadow}]}


def shadowed(result: str) -> float:
    count: float = SHADOWED.labels("/api/photos", result)._value.get()
    return count


@given(client=st.text(max_size=20), prefix=st.sampled_from(("/a", "/b")), low=st.floats(0, 100), high=st.floats(0, 100))
def test_raising_the_percentage_moves_nobody_back(client: str, prefix: str, low: float, high: float) -> None:
    low, high = sorted((low, high))
    assert 0 <= share_of(prefix, client) < 100
    before = Moves.moved(Move(prefix=prefix, percent=low), client)
    assert not before or Moves.moved(Move(prefix=prefix, percent=high), client)
    assert Moves.moved(Move(prefix=prefix, percent=100), client)
    assert not Moves.moved(Move(prefix=prefix, percent=0), client)


@given(percent=st.integers(1, 99), salt=st.integers(0, 1000))
def test_the_share_of_clients_is_the_percentage(percent: int, salt: int) -> None:
    count = 4000
    moved = sum(share_of("/api/photos", f"{salt}:{number}") < percent for number in range(count))
    # Five standard deviations of a binomial distribution: wrong once in two million.
    assert abs(moved / count - percent / 100) < 5 * (percent / 100 * (1 - percent / 100) / count) ** 0.5


async def test_legacy_takes_what_no_service_owns_with_its_answers_as_they_are(tmp_path: Path) -> None:
    async with (
        scripted(saying(b"new")) as new,
        scripted(saying(b"old")) as old,
        door(tmp_path, photos(new), declared={"legacy": old.url}) as front,
    ):
        assert (await front.client.get("/api/photos/1")).text == "new"
        for path in ("/", "/old/page?a=b", "/api/orders/1", "/files/a%2Fb"):
            answer = await front.client.get(path, headers={"Authorization": "Bearer the-legacy-applications-own"})
            assert answer.text == "old"
            assert "content-security-policy" not in answer.headers
        assert old.heads[-1].startswith(b"GET /files/a%2Fb ")
        assert (await front.client.get("/health/live")).json() == {"status": "alive"}


async def test_a_client_stays_on_its_side(tmp_path: Path) -> None:
    async with scripted(saying(b"new")) as new, scripted(saying(b"old")) as old:
        async with door(tmp_path, photos(new), declared=moving(old, 40), settings=TRUSTED) as front:
            found: Counter[str] = Counter()
            for number in range(60):
                address = f"198.51.100.{number}"
                sides = {(await front.client.get("/photos/1", headers={"X-Forwarded-For": address})).text for _ in range(2)}
                assert sides == {"new" if share_of("/api/photos", address) < 40 else "old"}
                found += Counter(sides)
            assert set(found) == {"new", "old"}
            subject = next(name for name in map(str, range(100)) if share_of("/api/photos", f"subject:{name}") < 40)
            token = issue_token(front.key, subject, (), timedelta(minutes=5))
            for number in range(5):  # a user, from wherever
                headers = {"X-Forwarded-For": f"198.51.100.{number}", "Authorization": f"Bearer {token}"}
                assert (await front.client.get("/photos/1", headers=headers)).text == "new"
        assert all(head.startswith(b"GET /photos/1 ") for head in old.heads)  # as it was asked
        assert all(head.startswith(b"GET /api/photos/1 ") for head in new.heads)


@pytest.mark.parametrize(
    ("new_says", "old_says", "result"),
    [
        (saying(b"same"), saying(b"same"), "same"),
        (saying(b'{"a":1, "b":2}', kind=b"application/json"), saying(b'{"b":2,"a":1}', kind=b"application/json"), "same"),
        (saying(b'{"a":1}', kind=b"application/json"), saying(b'{"a":2}', kind=b"application/json"), "body"),
        (saying(b"secret-new"), saying(b"secret-old"), "body"),
        (saying(b"same"), saying(b"same", status=b"404 Not Found"), "status"),
    ],
)
async def test_both_sides_are_compared_and_one_answers(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], new_says: Act, old_says: Act, result: str
) -> None:
    async with (
        scripted(new_says) as new,
        scripted(old_says) as old,
        door(tmp_path, photos(new), declared=moving(old, 0, shadow=True)) as front,
    ):
        before = {name: shadowed(name) for name in ("same", "body", "status", "failed", "skipped")}
        answer = await front.client.get("/api/photos/1")
        await front.gateway.settled()
        assert {name: shadowed(name) - count for name, count in before.items() if shadowed(name) != count} == {result: 1}
        await front.client.post("/api/photos/1", content=b"x")
        assert [head.split()[0] for head in new.heads] == [b"GET"]
    logged = "".join(capfd.readouterr())
    assert answer.status_code == (404 if result == "status" else 200)
    assert ("shadow differs" in logged) is (result != "same")
    assert "secret" not in logged


async def test_a_shadow_that_hangs_or_breaks_costs_the_client_nothing(tmp_path: Path) -> None:
    async def hang(script: Script, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        await reader.read()

    async with scripted(hang) as new, scripted(saying(b"old")) as old:
        options = {"shadow_concurrency": 2}
        async with door(tmp_path, photos(new), declared=moving(old, 0, shadow=True), options=options) as front:
            skipped = shadowed("skipped")
            assert [(await front.client.get("/api/photos/1")).text for _ in range(6)] == ["old"] * 6
            assert shadowed("skipped") - skipped == 4
