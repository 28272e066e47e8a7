"""Moving windows in Redis, which all processes share."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from trenza.chassis.http.rate_limits.windows import Standing, Verdict
from trenza.chassis.rates import Rate

__all__ = ["RedisError", "RedisWindows"]

_PREFIX: Final = "trenza:rate"
_CONNECTIONS: Final = 32
"""Of one process. A count takes a fraction of a millisecond, so that these are more than it can keep busy."""

_SCRIPT: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local answer, room = {}, 1
for i, key in ipairs(KEYS) do
  local amount, span = tonumber(ARGV[i * 2 - 1]), ARGV[i * 2] * 1000000
  local oldest = redis.call('LINDEX', key, 0)
  while oldest and oldest + span <= now do
    redis.call('LPOP', key)
    oldest = redis.call('LINDEX', key, 0)
  end
  local count = redis.call('LLEN', key)
  if count >= amount then room = 0 end
  answer[i * 2] = amount - count
  answer[i * 2 + 1] = oldest and (oldest + span - now) or 0
end
answer[1] = room
if room == 1 then
  for i, key in ipairs(KEYS) do
    local span = ARGV[i * 2] * 1000000
    redis.call('RPUSH', key, string.format('%.0f', now))
    redis.call('PEXPIRE', key, ARGV[i * 2] * 1000)
    if answer[i * 2 + 1] == 0 then answer[i * 2 + 1] = span end
    answer[i * 2] = answer[i * 2] - 1
  end
end
answer[#answer + 1] = now
return answer
"""
"""Looks and counts in one step, by the server's clock: clocks of machines differ, and a look of its own would be out of date.

KEYS are the windows of one caller, ARGV the amount and the seconds of each. Answers whether there was room, then for each window
what is left and the microseconds until more will be, then the moment: microseconds since 1970, which a double holds exactly.
"""
_FORGET: Final = """
for _, key in ipairs(KEYS) do redis.call('LREM', key, -1, ARGV[1]) end
"""


class RedisWindows:
    """Counts at one Redis (5 or later) or Valkey. Connects when it is first asked; raises `RedisError` or `OSError`."""

    def __init__(self, url: str, *, seconds: float) -> None:
        """``redis://``, ``rediss://`` or ``unix://`` as redis-py reads them; raises `ValueError` for others.

        ``seconds`` is for getting a connection; how long an answer may take is for the caller to say.
        """
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=seconds,
            socket_timeout=None,  # whoever asks has a time-out round the whole; another round each read costs 14 µs
            socket_connect_timeout=seconds,
            protocol=2,  # without the handshake of RESP3, of which nothing is used
            retry=Retry(NoBackoff(), 1),  # a connection that a restart has closed is noticed by using it
        )
        self._redis: Redis = Redis.from_pool(pool)
        self._take: Any = self._redis.register_script(_SCRIPT)
        self._forget: Any = self._redis.register_script(_FORGET)
        parts = urlsplit(url)
        self.place = f"Redis at {parts.hostname}:{parts.port or 6379}" if parts.hostname else f"Redis at {parts.path}"
        """Where it is, without the password."""

    async def take(self, key: str, rate: Rate) -> Verdict:
        """Count one request, in one round trip."""
        arguments = [part for window in rate.windows for part in (window.amount, window.seconds)]
        room, *figures, moment = await self._take(_keys(key, rate), arguments)
        pairs = zip(rate.windows, figures[::2], figures[1::2], strict=True)
        return Verdict(bool(room), tuple(Standing(window, left, micros / 1e6) for window, left, micros in pairs), moment)

    async def give_back(self, key: str, rate: Rate, moment: float) -> None:
        """Forget one request that was counted at a moment, if it is remembered."""
        await self._forget(_keys(key, rate), [f"{moment:.0f}"])

    async def ping(self) -> None:
        """Return when it answers."""
        pong: Any = self._redis.ping()
        await pong

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


def _keys(key: str, rate: Rate) -> list[str]:
    return [f"{_PREFIX}:{key}:{window.amount}/{window.seconds}" for window in rate.windows]
