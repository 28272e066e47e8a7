"""The public HTTP of photos."""

from __future__ import annotations

from fastapi import APIRouter

from trenza.services.photos.routes import (
    archiving,
    changing,
    direct_uploads,
    events,
    function,
    maintenance,
    reading,
    reprocessing,
    uploading,
)

__all__ = ["router"]

router = APIRouter(tags=["photos"])
# In this order: a photo's own routes take whatever stands where its id would.
for part in (uploading, direct_uploads, function, maintenance, reprocessing, archiving, events, reading, changing):
    router.include_router(part.router)
