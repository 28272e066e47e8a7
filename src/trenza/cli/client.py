"""The CLI's HTTP client: tokens, retries of what did not arrive, and problems as one line."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from trenza.cli.errors import Failure, UsageFailure
from trenza.cli.options import read_settings

__all__ = ["ApiClient", "failed_photo", "problem_of"]

ATTEMPTS = 6
UNAUTHORIZED = 401
RETRIED = {429, 502, 503}
"""Answers after which the same request, with the same Idempotency-Key, may well succeed."""
IN_FLIGHT_SECONDS = 75.0
"""How long to ask again while the first request with a key counts as running: after a crash that is for 60 s."""
LONGEST_PAUSE = 20.0
CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0


class ApiClient:
    """A connection to the API. Safe to use from several threads at once."""

    def __init__(self, url: str, *, token: str | None, data_dir: Path | None, scope: str) -> None:
        try:
            self.url = httpx.URL(url)
        except httpx.InvalidURL:
            self.url = httpx.URL("")
        if self.url.scheme not in ("http", "https") or not self.url.host:
            raise UsageFailure(f"--url is {url!r}; write it like http://127.0.0.1:8000")
        bearer = token or _local_token(self.url, data_dir, scope)
        if not (bearer.isascii() and bearer.isprintable()) or " " in bearer:
            raise UsageFailure("the token holds characters that no token has; copy it again (`trenza token …` prints one)")
        self._said_waiting = threading.Event()
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {bearer}", "User-Agent": "trenza-cli"},
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            follow_redirects=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._http.close()

    def request(self, method: str, path: str, *, wait: float = 0.0, build: Callable[[], dict[str, Any]] = dict) -> httpx.Response:
        """The final answer to a request, sent again while the server is not there, busy or restarting.

        ``build`` makes the arguments of each attempt anew (a file is read from its start again). Only for requests that may be
        repeated: reads, and creations with an Idempotency-Key. ``wait`` seconds are added to the read time-out. Raises `Failure`.
        """
        timeout = httpx.Timeout(READ_SECONDS + wait, connect=CONNECT_SECONDS)
        give_up_at = time.monotonic() + IN_FLIGHT_SECONDS
        attempt = 0
        while True:
            pause: float | None = None
            try:
                response = self._http.request(method, path, timeout=timeout, **build())
            except httpx.TransportError as error:
                attempt += 1
                if attempt >= ATTEMPTS:
                    raise Failure(self._unreachable(error)) from None
                self._say_waiting()
            else:
                in_flight = response.status_code == httpx.codes.CONFLICT and "retry-after" in response.headers
                attempt += not in_flight
                if not in_flight and response.status_code not in RETRIED:
                    return response
                if attempt >= ATTEMPTS or time.monotonic() > give_up_at:
                    return response
                pause = _retry_after(response)
            time.sleep(_pause(attempt) if pause is None else pause)

    def download(self, path: str, write: Callable[[bytes], object]) -> httpx.Response:
        """Stream the body of an answer with status 200 into ``write``; other answers come back with their body read."""
        try:
            with self._http.stream("GET", path, follow_redirects=True) as response:
                if response.status_code == httpx.codes.OK:
                    for chunk in response.iter_bytes():
                        write(chunk)
                else:
                    response.read()
                return response
        except httpx.TransportError as error:
            raise Failure(self._unreachable(error)) from None

    def _say_waiting(self) -> None:
        """Tell once, on standard error, why nothing seems to happen."""
        if not self._said_waiting.is_set():
            self._said_waiting.set()
            sys.stderr.write(f"trenza: waiting for {self.url} to answer (Ctrl-C to stop; --url or TRENZA_URL names another)\n")

    def _unreachable(self, error: httpx.TransportError) -> str:
        reason = "no connection" if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) else type(error).__name__
        return f"{self.url} does not answer ({reason}): start it with `trenza up`, or name another with --url or TRENZA_URL"


def problem_of(response: httpx.Response) -> str:
    """What an answer complains about, as one line: the problem document's detail where there is one."""
    document = _document(response)
    detail = document.get("detail") or document.get("title")
    origin = ", the one of --token or TRENZA_TOKEN, else of the key in --data-dir" if response.status_code == UNAUTHORIZED else ""
    return " ".join(str(detail or response.reason_phrase).split()) + f" ({response.status_code}{origin})"


def failed_photo(response: httpx.Response) -> dict[str, Any]:
    """The photo of a problem that is about one, which has an id by which to ask for it; else empty."""
    photo = _document(response).get("photo")
    return photo if isinstance(photo, dict) else {}


def _document(response: httpx.Response) -> dict[str, Any]:
    try:
        document = response.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _local_token(url: httpx.URL, data_dir: Path | None, scope: str) -> str:
    """A short-lived token for a server on this machine. One signed with the local key is never sent to another machine."""
    from trenza.chassis.auth.tokens import issue_token  # noqa: PLC0415 - only without a token does the CLI need the chassis
    from trenza.chassis.runtime.signing import signing_key, signing_key_path  # noqa: PLC0415

    settings = read_settings(data_dir)
    if not _is_loopback(url.host) or not signing_key_path(settings).exists():
        raise UsageFailure(
            "no token: give one with --token or TRENZA_TOKEN (`trenza token photos:editor` prints one), or --data-dir"
        )
    return issue_token(signing_key(settings), "operator", [scope], timedelta(hours=1), kind="operator")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds of the Retry-After header, when it holds a number."""
    value = response.headers.get("retry-after", "")
    return min(float(value), LONGEST_PAUSE) if value.isdigit() else None


def _pause(attempt: int) -> float:
    """Half a second, doubling, with jitter: 15 s over all attempts."""
    return float(min(LONGEST_PAUSE, 0.5 * 2 ** (attempt - 1))) * random.uniform(0.7, 1.3)  # noqa: S311 - no secret
