"""FastAPI and httpx2 as one writes them by hand: models on both sides, no identity, no deadline, no retries."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import httpx2
import uvicorn
from fastapi import FastAPI
from protocol import arguments, call_and_tell, ready, run
from pydantic import BaseModel

options = arguments()


class HoldRequest(BaseModel):
    """What is asked."""

    work_id: UUID
    cents: int


class Hold(BaseModel):
    """What is answered."""

    id: UUID
    work_id: UUID
    cents: int


app = FastAPI(openapi_url=None)
HOLD = Hold(id=uuid4(), work_id=uuid4(), cents=100)


@app.post("/holds")
async def find_hold(request: HoldRequest) -> Hold:  # noqa: ARG001 - as large as everybody's
    """Answer at once."""
    return HOLD


async def _serve() -> None:
    server = uvicorn.Server(uvicorn.Config(app, port=options.port, log_level="warning", access_log=False, lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn sets no event
        await asyncio.sleep(0.01)
    ready()
    await serving


async def _call() -> None:
    work_id = uuid4()
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{options.port}", trust_env=False) as client:

        async def call() -> Hold:
            request = HoldRequest(work_id=work_id, cents=100)
            answer = await client.post(
                "/holds", content=request.model_dump_json(), headers={"content-type": "application/json"}, timeout=30
            )
            answer.raise_for_status()
            return Hold.model_validate_json(answer.content)

        await call_and_tell(call, options.count)


run(_serve() if options.action == "serve" else _call())
