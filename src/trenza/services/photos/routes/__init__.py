"""The public HTTP of photos."""

from __future__ import annotations

from fastapi import APIRouter

from trenza.services.photos.routes import changing, reading, uploading

__all__ = ["router"]

router = APIRouter(tags=["photos"])
for part in (uploading, reading, changing):
    router.include_router(part.router)
