"""``Prefer: wait=N`` (RFC 7240): how long a client would rather wait for the result than be told to ask again."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

__all__ = ["Wait", "preferred_wait"]

LONGEST_WAIT = 60
_MOST_DIGITS = 9


@dataclass(frozen=True)
class Wait:
    """The preference as far as it is honoured: ``seconds`` is None without one."""

    seconds: int | None

    @property
    def headers(self) -> dict[str, str]:
        """``Preference-Applied``, for the answer to which it was applied."""
        return {} if self.seconds is None else {"Preference-Applied": f"wait={self.seconds}"}


def preferred_wait(request: Request, *, longest: int = LONGEST_WAIT) -> Wait:
    """What the request prefers, at most ``longest`` seconds. As the RFC wants, the first counts and nonsense is ignored."""
    for header in request.headers.getlist("prefer"):
        for preference in header.split(","):
            name, _, value = preference.partition(";")[0].partition("=")
            if name.strip().lower() == "wait":
                digits = value.strip().strip('"')
                valid = digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS
                return Wait(min(int(digits), longest) if valid else None)
    return Wait(None)
