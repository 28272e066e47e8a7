"""The public HTTP of inspections."""

from __future__ import annotations

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from inspections.contract import Inspection
from inspections.service import InspectionsService
from trenza import Principal, Roles, documented_problems, provided, requires, respond_with_blob

__all__ = ["ROLES", "router"]

ROLES: Final = Roles("inspections", ("manager", "editor", "viewer"))
"""Each includes those after it. viewer: inspections and reports. editor: orders them. manager: cancels them."""

router = APIRouter(tags=["inspections"])

Service = Annotated[InspectionsService, provided(InspectionsService)]
Viewer = Annotated[Principal, requires("inspections:viewer")]
Editor = Annotated[Principal, requires("inspections:editor")]
Manager = Annotated[Principal, requires("inspections:manager")]


class InspectionOrder(BaseModel):
    """What to photograph."""

    model_config = ConfigDict(extra="forbid")

    upid: str = Field(description="The project whose photos count.", examples=["UNP-1978"])
    title: str = Field(description="What to photograph, in a line.")
    photos_needed: int | None = Field(None, description="How many completed photos close it.")


class InspectionList(BaseModel):
    """Inspections, the newest first."""

    items: tuple[Inspection, ...]


@router.post("/api/inspections", status_code=201, summary="Order an inspection", responses=documented_problems(409, 422))
async def open_inspection(inspections: Service, _caller: Editor, order: InspectionOrder, response: Response) -> Inspection:
    """Order the photographs of a project. It closes by itself once enough of its photos are completed."""
    inspection = await inspections.open_inspection(upid=order.upid, title=order.title, photos_needed=order.photos_needed)
    response.headers["Location"] = f"/api/inspections/{inspection.id}"
    return inspection


@router.get("/api/inspections", summary="List inspections")
async def list_inspections(
    inspections: Service, _caller: Viewer, upid: Annotated[str | None, Query(description="Of this project only.")] = None
) -> InspectionList:
    """The newest hundred inspections."""
    return InspectionList(items=await inspections.list_inspections(upid=upid))


@router.get("/api/inspections/{inspection_id:uuid}", summary="One inspection", responses=documented_problems(404))
async def get_inspection(inspections: Service, _caller: Viewer, inspection_id: UUID) -> Inspection:
    """How an inspection stands."""
    return await inspections.get_inspection(inspection_id=inspection_id)


@router.post(
    "/api/inspections/{inspection_id:uuid}/cancel", summary="Cancel an inspection", responses=documented_problems(404, 409)
)
async def cancel_inspection(inspections: Service, _caller: Manager, inspection_id: UUID) -> Inspection:
    """Give an open inspection up. Cancelling it again changes nothing."""
    return await inspections.cancel_inspection(inspection_id=inspection_id)


@router.get(
    "/api/inspections/{inspection_id:uuid}/report",
    summary="The report of an inspection",
    response_class=Response,
    responses={200: {"content": {"application/json": {}}}, **documented_problems(404, 409)},
)
async def get_report(request: Request, inspections: Service, _caller: Viewer, inspection_id: UUID) -> Response:
    """The inspection with its photos, as they were when it closed."""
    key = await inspections.report_of(inspection_id)
    return await respond_with_blob(request, inspections.blobs, key, filename=f"{inspection_id}.json")
