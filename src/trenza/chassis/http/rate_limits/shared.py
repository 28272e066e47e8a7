"""Windows that all processes share for as long as Redis answers, and each process counts for itself while it does not."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, Protocol

from prometheus_client import Counter

from trenza.chassis.http.rate_limits.windows import MemoryWindows, Verdict, Windows
from trenza.chassis.rates import Rate
from trenza.chassis.settings import InvalidSettings, PlatformSettings
from trenza.chassis.telemetry.logs import get_logger
from trenza.chassis.telemetry.metrics import registry

if TYPE_CHECKING:
    from trenza.chassis.http.rate_limits.redis import RedisWindows

__all__ = ["SharedWindows", "open_shared_windows"]

AGAIN_SECONDS: Final = 1.0
"""How long a Redis that is away is left alone before one request asks it again."""
_FAILURES: Final = 3
"""In a row until Redis counts as away: a single one may be this process' own fault, such as a pause of its event loop."""

_log = get_logger(__name__)
_local = Counter(
    "trenza_rate_limit_local",
    "Requests that this process counted by itself because Redis did not answer",
    registry=registry(),
)


class SharedWindows:
    """Asks Redis, and a process' own windows where it fails or takes longer than ``seconds``.

    While Redis is away no request waits for it, but for one in `AGAIN_SECONDS`. The limits then hold for each process: what
    is let through is at most as many times more as there are processes. Nothing is refused because Redis is away.
    """

    def __init__(self, redis: RedisWindows, local: MemoryWindows, *, seconds: float) -> None:
        self._redis, self._own, self._seconds = redis, local, seconds
        self._failures = 0
        self._again_at = 0.0
        self._asking = False
        self._errors = _errors()

    @property
    def away(self) -> bool:
        """Whether requests are counted locally."""
        return self._failures >= _FAILURES

    async def take(self, key: str, rate: Rate) -> Verdict:
        """Count one request. Takes ``seconds`` at most."""
        if self.away and (self._asking or time.monotonic() < self._again_at):
            return await self._take_locally(key, rate)
        trying = self._asking = self.away
        try:
            async with asyncio.timeout(self._seconds):
                verdict = await self._redis.take(key, rate)
        except self._errors as error:
            self._failed(error)
            return await self._take_locally(key, rate)
        finally:
            if trying:
                self._asking = False
        self._answered()
        return verdict

    async def give_back(self, key: str, rate: Rate, moment: float) -> None:
        """Forget one request, where it was counted. Without Redis it stays counted there: nobody waits for that."""
        await self._own.give_back(key, rate, moment)
        if not self.away:
            try:
                async with asyncio.timeout(self._seconds):
                    await self._redis.give_back(key, rate, moment)
            except self._errors as error:
                self._failed(error)

    async def check(self) -> None:
        """Ask Redis, and raise `ConnectionError`, which says where it should be, unless it answers as requests need it to."""
        try:
            async with asyncio.timeout(self._seconds):
                await self._redis.ping()
        except self._errors as error:
            self._failed(error)
            raise ConnectionError(f"{self._redis.place}: {_reason(error)}; each process counts for itself") from None
        self._answered()

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.close()

    async def _take_locally(self, key: str, rate: Rate) -> Verdict:
        _local.inc()
        return await self._own.take(key, rate)

    def _failed(self, error: BaseException) -> None:
        was_away = self.away
        self._failures += 1
        self._again_at = time.monotonic() + AGAIN_SECONDS
        if self.away and not was_away:
            _log.warning("rate limits are counted by each process alone", place=self._redis.place, reason=_reason(error))

    def _answered(self) -> None:
        if self.away:
            _log.info("rate limits are shared again", place=self._redis.place)
        self._failures = 0


class _Closable(Windows, Protocol):
    async def check(self) -> None: ...

    async def close(self) -> None: ...


def open_shared_windows(settings: PlatformSettings, local: MemoryWindows) -> _Closable | None:
    """The windows in the Redis that the settings name; None where they name none. Connects to nothing yet.

    Raises `InvalidSettings` for a URL that cannot be used, without quoting it, and where the library is not installed.
    """
    if settings.redis_url is None:
        return None
    try:
        from trenza.chassis.http.rate_limits.redis import RedisWindows  # noqa: PLC0415 - who has no Redis has no library
    except ModuleNotFoundError:
        raise InvalidSettings(("TRENZA_REDIS_URL is set: pip install 'trenza[redis]'",)) from None
    try:
        redis = RedisWindows(settings.redis_url.get_secret_value(), seconds=settings.redis_timeout_seconds)
    except ValueError:
        remedy = "write redis://user:password@host:6379/0, rediss://… or unix:///path"
        raise InvalidSettings((f"TRENZA_REDIS_URL is no address of a Redis: {remedy}",)) from None
    return SharedWindows(redis, local, seconds=settings.redis_timeout_seconds)


def _errors() -> tuple[type[Exception], ...]:
    from redis.exceptions import RedisError  # noqa: PLC0415 - as above

    return (RedisError, OSError)  # asyncio's TimeoutError is an OSError


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else f"{type(error).__name__}: no answer in time"
