"""The page at ``/docs`` that shows the OpenAPI document, where ``/`` leads. It loads nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Response

from trenza.chassis.auth.permissions import public

__all__ = ["reference_router"]

_OPEN = public("it shows the API, no data")


def reference_router() -> APIRouter:
    """``/docs``, and ``/`` for whoever opens the bare address."""
    router = APIRouter(include_in_schema=False)

    @router.get("/docs", dependencies=[_OPEN])
    async def reference() -> Response:
        page, policy = _page()
        return Response(page, media_type="text/html", headers={"Content-Security-Policy": policy, "Cache-Control": "no-cache"})

    async def front_door() -> Response:
        # Relative, so that it holds behind every proxy and whatever the Host header says.
        return Response(status_code=307, headers={"Location": "docs", "Cache-Control": "no-cache"})

    router.add_api_route("/", front_door, methods=["GET"], dependencies=[_OPEN])
    router.add_api_route("/", front_door, methods=["HEAD"], dependencies=[_OPEN])
    return router


@cache
def _page() -> tuple[str, str]:
    """The page, and the Content-Security-Policy that lets just its own script and style run (by their digests)."""
    page = (files("trenza.chassis.runtime") / "reference.html").read_text(encoding="utf-8")
    script, style = (_digest(page, tag) for tag in ("script", "style"))
    policy = f"default-src 'none'; connect-src 'self'; script-src {script}; style-src {style}; frame-ancestors 'none'"
    return page, policy


def _digest(page: str, tag: str) -> str:
    match = re.search(rf"<{tag}>(.*?)</{tag}>", page, flags=re.DOTALL)
    if match is None:
        raise RuntimeError(f"reference.html has no <{tag}>")
    return f"'sha256-{base64.b64encode(hashlib.sha256(match[1].encode()).digest()).decode()}'"
