from __future__ import annotations

import asyncio
import io
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import orjson
import pytest
from pydantic import SecretStr

from trenza.chassis.auth.permissions import public
from trenza.chassis.http.rate_limits import limited
from trenza.chassis.http.rate_limits.redis import RedisWindows
from trenza.chassis.rates import Rate
from trenza.chassis.runtime.application import assemble
from trenza.chassis.settings import InvalidSettings, PlatformSettings
from trenza.chassis.telemetry.health import Health
from trenza.chassis.telemetry.logs import configure_logging
from trenza.chassis.telemetry.metrics import registry
from trenza.chassis.testing.redis_server import RedisServer
from trenza.chassis.testing.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from tests.chassis.http.rate_limits.conftest import Site, SiteMaker

HAMMER = Path(__file__).with_name("hammer.py")
OPEN = public("the test asks")
PATIENCE = 0.05


def counted_locally() -> float:
    return registry().get_sample_value("trenza_rate_limit_local_total") or 0


@pytest.fixture
def log() -> io.StringIO:
    """What is logged, as JSON lines."""
    stream = io.StringIO()
    configure_logging(PlatformSettings(environment="production"), stream=stream)
    return stream


def told(log: io.StringIO) -> list[dict[str, Any]]:
    """The lines about rate limits."""
    lines = [orjson.loads(line) for line in log.getvalue().splitlines()]
    return [line for line in lines if "rate limits" in line["event"]]


def health_of(site: Site) -> Health:
    health = Health()
    assert site.limits.shared is not None
    health.add("rate limits", site.limits.shared.check, required=False)
    return health


async def answering(site: Site) -> None:
    """Look until Redis is there again, as a health check does, so that the next request is counted there."""
    assert site.limits.shared is not None
    async with asyncio.timeout(20):
        while True:
            try:
                await site.limits.shared.check()
            except ConnectionError:
                continue
            return


async def longest(site: Site, tries: int) -> float:
    """The seconds of the slowest of so many requests."""
    found = []
    for _ in range(tries):
        began = time.perf_counter()
        await site.ask()
        found.append(time.perf_counter() - began)
    return max(found)


async def test_processes_count_together(make_site: SiteMaker, redis: RedisServer) -> None:
    before = counted_locally()
    sites = [make_site(redis_url=redis.url, redis_timeout_seconds=5, rate_limit_anonymous="5/minute") for _ in range(2)]
    found = [await site.ask() for _ in range(4) for site in sites]
    assert found == [200] * 5 + [429] * 3
    assert await sites[0].passes(1, address="192.0.2.2") == 1
    assert counted_locally() == before


async def test_several_windows_headers_and_refusals_are_as_in_memory(make_site: SiteMaker, redis: RedisServer) -> None:
    site = make_site(redis_url=redis.url, redis_timeout_seconds=5, rate_limit_anonymous="3/hour, 4/day")

    @site.app.get("/narrow", dependencies=[OPEN, limited("1/hour")])
    async def narrow() -> None: ...

    first = await site.client().get("/ask")
    assert first.headers["ratelimit"] == '"anonymous 3600s";r=2;t=3600, "anonymous 86400s";r=3;t=86400'
    assert await site.passes(5, path="/narrow") == 1
    assert await site.passes(5) == 1, "what the route refused has been given back"
    refusal = await site.client().get("/ask")
    assert refusal.headers["ratelimit-policy"] == '"anonymous 3600s";q=3;w=3600, "anonymous 86400s";q=4;w=86400'
    assert refusal.json()["limit"] == 3
    assert 3590 <= int(refusal.headers["retry-after"]) <= 3600


async def test_never_more_than_the_limit_pass_whichever_process_asks(redis: RedisServer) -> None:
    """Four processes of eight askers over three windows: no second holds more than 40 requests that lie within it as a whole."""
    limit, pipe = 40, asyncio.subprocess.PIPE
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, str(HAMMER), f"{limit}/second", "3", stdin=pipe, stdout=pipe)
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 60) == b"ready\n"
    outputs = await asyncio.gather(*(process.communicate(f"{redis.url}\n".encode()) for process in processes))
    each = [[tuple(map(float, line.split())) for line in out.decode().splitlines()] for out, _ in outputs]
    assert [process.returncode for process in processes] == [0] * 4
    passed = sorted(pair for one in each for pair in one)
    assert all(each), "each of them got something"
    assert len(passed) >= limit * 2
    for began, _ in passed:
        within = sum(1 for before, after in passed if before >= began and after < began + 1)
        assert within <= limit


async def test_exactly_the_limit_passes_of_a_burst(redis: RedisServer) -> None:
    windows = [RedisWindows(redis.url, seconds=10) for _ in range(4)]
    rate = Rate.read("100/hour")
    verdicts = await asyncio.gather(*(windows[number % 4].take("burst", rate) for number in range(400)))
    assert sum(verdict.allowed for verdict in verdicts) == 100
    assert sorted(verdict.standings[0].remaining for verdict in verdicts if verdict.allowed) == list(range(100))
    for each in windows:
        await each.close()


async def test_what_leaves_the_window_makes_room_and_leaves_nothing_behind(redis: RedisServer) -> None:
    windows = RedisWindows(redis.url, seconds=10)
    rate = Rate.read("2/second")
    assert [(await windows.take("one", rate)).allowed for _ in range(3)] == [True, True, False]
    refusal = await windows.take("one", rate)
    assert 0 < refusal.decisive.seconds <= 1
    async with asyncio.timeout(10):
        while not (await windows.take("one", rate)).allowed:
            pass
        while await windows._redis.dbsize():
            pass
    await windows.close()


@pytest.mark.parametrize("trouble", ["refused", "halted", "wrong password", "no such host"])
async def test_without_redis_each_process_counts_for_itself(
    make_site: SiteMaker, redis: RedisServer, log: io.StringIO, trouble: str
) -> None:
    url = redis.url
    match trouble:
        case "refused":
            await redis.kill()
        case "halted":
            redis.halt()
        case "wrong password":
            url = url.replace(redis.password, "not-the-right-one")
        case _:
            url = url.replace("127.0.0.1", "redis.invalid")
    before = counted_locally()
    site = make_site(redis_url=url, redis_timeout_seconds=PATIENCE, rate_limit_anonymous="20/minute")
    assert await site.passes(30) == 20, "nobody is refused for it, and nobody may ask for ever"
    assert counted_locally() >= before + 30
    assert [line["level"] for line in told(log)] == ["warning"], "it is logged once"
    assert redis.password not in log.getvalue()
    assert "not-the-right-one" not in log.getvalue()
    report = await health_of(site).report()
    assert report.status == "degraded"
    assert report.ready
    (check,) = report.checks
    assert check.reason is not None
    assert "each process counts for itself" in check.reason
    assert redis.password not in check.reason


async def test_a_redis_that_does_not_answer_holds_nobody_up(make_site: SiteMaker, redis: RedisServer) -> None:
    site = make_site(redis_url=redis.url, redis_timeout_seconds=PATIENCE, rate_limit_anonymous="1000/minute")
    await site.ask()
    redis.halt()
    began = time.perf_counter()
    assert await longest(site, 100) < PATIENCE * 20, "twenty times: others use this machine"
    assert time.perf_counter() - began < PATIENCE * 50, "after three no request waits at all"
    redis.go_on()
    await answering(site)
    before = counted_locally()
    await site.ask()
    assert counted_locally() == before


async def test_many_requests_at_once_wait_for_a_silent_redis_side_by_side(make_site: SiteMaker, redis: RedisServer) -> None:
    site = make_site(redis_url=redis.url, redis_timeout_seconds=PATIENCE, rate_limit_anonymous="10000/minute")
    await site.ask()
    redis.halt()
    began = time.perf_counter()
    found = await asyncio.gather(*(site.ask() for _ in range(200)))
    assert found == [200] * 200
    assert time.perf_counter() - began < 5, "one after the other it would be ten seconds"


async def test_a_restart_of_redis_is_not_noticed_by_anybody(make_site: SiteMaker, redis: RedisServer, log: io.StringIO) -> None:
    site = make_site(redis_url=redis.url, redis_timeout_seconds=5, rate_limit_anonymous="3/minute")
    assert await site.passes(2) == 2
    await redis.kill()
    await redis.start()
    assert await site.passes(5) == 3, "it has forgotten what it kept in memory, and its scripts"
    assert told(log) == []


async def test_redis_is_used_again_as_soon_as_it_answers(make_site: SiteMaker, redis: RedisServer, log: io.StringIO) -> None:
    async with TcpProxy.before("127.0.0.1", redis.port) as proxy:
        site = make_site(redis_url=redis.url_at(proxy.port), redis_timeout_seconds=1, rate_limit_anonymous="5/minute")
        other = make_site(redis_url=redis.url, redis_timeout_seconds=5, rate_limit_anonymous="5/minute")
        health = health_of(site)
        assert await site.passes(3) == 3
        await proxy.refuse()
        assert (await health.report()).status == "degraded"
        assert await site.passes(4, address="192.0.2.2") == 4
        await proxy.listen()
        await answering(site)
        assert await other.passes(5) == 2, "what was counted before still counts"
        assert await site.passes(1) == 0
        assert [line["level"] for line in told(log)] == ["warning", "info"]


async def test_an_answer_that_came_too_late_is_not_taken_for_another(make_site: SiteMaker, redis: RedisServer) -> None:
    """After a time-out the connection may still hold the answer; it must not go to whoever asks next."""
    async with TcpProxy.before("127.0.0.1", redis.port) as proxy:
        url = redis.url_at(proxy.port)
        site = make_site(redis_url=url, redis_timeout_seconds=PATIENCE, rate_limit_anonymous="2/minute")
        await site.ask()
        await site.ask()
        proxy.stall()
        assert await site.ask() == 200, "counted by the process alone"
        proxy.flow()
        await answering(site)
        answers = [await site.client(f"192.0.2.{last}").get("/ask") for last in range(10, 20)]
        assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["1"] * 10
        assert await site.ask() == 429


def test_an_address_that_is_none_is_refused_at_boot_without_being_quoted(tmp_path: Path) -> None:
    settings = PlatformSettings(data_dir=tmp_path, redis_url=SecretStr("http://:hunter2@redis"))
    with pytest.raises(InvalidSettings, match="TRENZA_REDIS_URL is no address of a Redis: write redis://") as caught:
        assemble((), settings)
    assert "hunter2" not in str(caught.value)


async def test_the_platform_counts_at_redis_and_tells_of_it_in_its_health(tmp_path: Path, redis: RedisServer) -> None:
    for running in (True, False):
        if not running:
            await redis.kill()
        settings = PlatformSettings(
            data_dir=tmp_path, redis_url=SecretStr(redis.url), redis_timeout_seconds=1, rate_limit_anonymous="2/minute"
        )
        app = assemble((), settings)
        transport = httpx.ASGITransport(app=app, client=("192.0.2.1", 40_000))
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            health = (await client.get("/health")).json()
            assert health["status"] == ("healthy" if running else "degraded")
            assert health["checks"]["rate limits"] == ("healthy" if running else "unhealthy")
            assert [(await client.get("/openapi.json")).status_code for _ in range(3)] == [200, 200, 429]
