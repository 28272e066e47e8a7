"""What a deployment declares for its gateway: compositions, the legacy upstream, and prefixes that move from it by percentage."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from trenza.chassis.gateway.routes import GatewayRoute

__all__ = ["Composition", "GatewayDeclarations", "Move"]

_PLACE: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_STRICT = ConfigDict(extra="forbid", frozen=True)
Path = Annotated[str, Field(pattern=r"^/[^\s#\\]*$")]


def _is_address(url: str) -> bool:
    """Whether it is the root of a process: no path, no credentials, a port that exists."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    plain = parts.path in ("", "/") and not (parts.query or parts.fragment or parts.username or parts.password)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0 and plain


class Composition(BaseModel):
    """``GET path`` answers an object with a member for each of ``parts``: the JSON that a ``GET`` of the part's path answers.

    ``{name}`` in ``path`` stands for one segment, and may stand in the parts' paths. Parts are asked at once, with the caller's
    credentials, and have ``seconds`` each; one that fails is null, and ``problems`` tells why.
    """

    model_config = _STRICT

    path: Path
    parts: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], Path] = Field(min_length=1, max_length=20)
    seconds: float = Field(5.0, gt=0, le=60)
    summary: str = ""

    @model_validator(mode="after")
    def _known_places(self) -> Composition:
        if "?" in self.path:
            raise ValueError("the path of a composition has no query")
        if "problems" in self.parts:
            raise ValueError("a part cannot be called problems: that member tells which parts failed")
        known = set(_PLACE.findall(self.path))
        for name, path in self.parts.items():
            if unknown := set(_PLACE.findall(path)) - known:
                raise ValueError(f"part {name} names {{{min(unknown)}}}, which is not in the path {self.path}")
        return self


class Move(BaseModel):
    """A prefix on its way from the legacy upstream to the service that owns it.

    ``percent`` of its clients (users where a token names one, else addresses) are served by the service, the same ones always;
    raising it moves further clients over and none back. With ``shadow`` the other side is asked too, for GET and HEAD, and the
    answers are compared.
    """

    model_config = _STRICT

    prefix: Path
    percent: float = Field(ge=0, le=100)
    shadow: bool = False


class GatewayDeclarations(BaseModel):
    """The table ``[gateway]`` of a deployment file, or the same in Python."""

    model_config = _STRICT

    legacy: tuple[str, ...] = ()
    """Where what no service owns is served, ``http://host:port``; several are replicas."""
    moves: tuple[Move, ...] = ()
    compositions: tuple[Composition, ...] = ()

    @field_validator("legacy", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("legacy")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for url in value:
            if not _is_address(url):
                raise ValueError(f"{url!r} is no address of a process: write http://host:port")
        return tuple(url.rstrip("/") for url in value)

    def problems(self, routes: tuple[GatewayRoute, ...]) -> Iterator[str]:
        """What does not fit the services of the deployment, a sentence each with its remedy."""
        owned = {prefix for route in routes for prefix in route.prefixes}
        for move in self.moves:
            if not self.legacy:
                yield f'gateway.moves: {move.prefix} moves from nowhere; write legacy = "http://host:port" in [gateway]'
            if move.prefix not in owned:
                yield f"gateway.moves: no service owns {move.prefix}; name one of {', '.join(sorted(owned)) or 'none'}"
        prefixes = [move.prefix for move in self.moves]
        for twice in sorted({prefix for prefix in prefixes if prefixes.count(prefix) > 1}):
            yield f"gateway.moves: {twice} moves twice; keep one"
        composed = [composition.path for composition in self.compositions]
        for twice in sorted({path for path in composed if composed.count(path) > 1}):
            yield f"gateway.compositions: {twice} stands there twice; keep one"
        for composition in self.compositions:
            for name, path in composition.parts.items():
                if path.partition("?")[0] in composed:
                    yield f"gateway.compositions: part {name} of {composition.path} is a composition; name a service's path"
