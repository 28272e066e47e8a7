"""Who may do what with photos, and what the routes have in common."""

from __future__ import annotations

from typing import Annotated, Final

from starlette.requests import Request

from trenza.chassis.auth.permissions import requires
from trenza.chassis.auth.roles import RoleBook, Roles
from trenza.chassis.context import Principal
from trenza.chassis.http.provided import provided
from trenza.services.photos.service import PhotosService

__all__ = ["ORIGINALS", "ROLES", "Admin", "Editor", "Manager", "Public", "Service", "Viewer", "may_see_originals"]

ROLES: Final = Roles("photos", ("admin", "manager", "editor", "viewer", "public"))
"""Each includes those after it. public: the versions of a photo whose id is known (for the pages of others). viewer: records,
lists and galleries. editor: uploads, and the originals. manager: deletes and retries. admin: what concerns the whole service."""

ORIGINALS: Final = "photos:editor"
"""The scope from which on originals are handed out."""

Service = Annotated[PhotosService, provided(PhotosService)]
Public = Annotated[Principal, requires("photos:public")]
Viewer = Annotated[Principal, requires("photos:viewer")]
Editor = Annotated[Principal, requires("photos:editor")]
Manager = Annotated[Principal, requires("photos:manager")]
Admin = Annotated[Principal, requires("photos:admin")]


def may_see_originals(request: Request, principal: Principal) -> bool:
    """Whether the untouched files, with all that the camera wrote into them, are for this caller."""
    roles: RoleBook = request.app.state.roles
    return roles.allows(principal.scopes, ORIGINALS)
