from __future__ import annotations

from typing import Annotated

import httpx
import pytest
from fastapi import FastAPI

from trenza.chassis.http.provided import provided


class PhotosService:
    """An implementation of a service."""

    name = "photos"


async def test_a_route_gets_the_running_implementation() -> None:
    app = FastAPI()

    @app.get("/name")
    async def name(photos: Annotated[PhotosService, provided(PhotosService)]) -> str:
        return photos.name

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        with pytest.raises(RuntimeError, match=r"app\.state\.implementations holds no PhotosService"):
            await client.get("/name")
        app.state.implementations = {PhotosService: PhotosService()}
        assert (await client.get("/name")).json() == "photos"
    assert app.openapi()["paths"]["/name"]["get"].get("parameters") is None
