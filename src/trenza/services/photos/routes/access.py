"""Who may do what with photos, within which organisation units, and what the routes have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends
from starlette.requests import Request

from trenza.chassis.auth.permissions import ScopeMissing, requires
from trenza.chassis.auth.roles import RoleBook, Roles
from trenza.chassis.context import Principal
from trenza.chassis.http.provided import provided
from trenza.services.photos import rules
from trenza.services.photos.contract import InvalidField, Photo, UnitForbidden
from trenza.services.photos.rules import UploadDetails
from trenza.services.photos.service import PhotosService, not_found

__all__ = ["ORIGINALS", "ROLES", "Admin", "Editor", "Manager", "ManagerOfAll", "Public", "Reach", "Service", "Viewer"]

ROLES: Final = Roles("photos", ("admin", "manager", "editor", "viewer", "public"))
"""Each includes those after it. public: the versions of a photo whose id is known (for the pages of others). viewer: records,
lists and galleries. editor: uploads, and the originals. manager: deletes and retries. admin: what concerns the whole service.
All but what concerns many photos at once may be held for an organisation unit alone: ``photos:editor@NORTE``."""

ORIGINALS: Final = "photos:editor"
"""The scope from which on originals are handed out."""


@dataclass(frozen=True)
class Reach:
    """A caller, and the organisation units whose photos they may see (``units``) and get in the original; None for all."""

    principal: Principal
    units: frozenset[str] | None
    original_units: frozenset[str] | None

    @property
    def sees_originals(self) -> bool:
        """Whether any original is for this caller."""
        return self.original_units is None or bool(self.original_units)

    def sees_original_of(self, photo: Photo) -> bool:
        """Whether the untouched file, with all that the camera wrote into it, is for this caller."""
        return self.original_units is None or photo.unit in self.original_units

    def require_original_of(self, photo: Photo | None = None) -> None:
        """Raise `ScopeMissing` unless the original of this photo (or of any) is for this caller."""
        if not (self.sees_originals if photo is None else self.sees_original_of(photo)):
            raise ScopeMissing(ORIGINALS)

    async def photo(self, photos: PhotosService, photo_id: UUID) -> Photo:
        """A photo that this caller may see. Raises `PhotoNotFound` for one of another unit as for one that never was."""
        photo = await photos.get_photo(photo_id=photo_id)
        if self.units is not None and photo.unit not in self.units:
            raise not_found()
        return photo

    def placed(self, details: UploadDetails) -> UploadDetails:
        """What is said about an upload, in a unit in which this caller may upload: their own, where they have just one.

        Raises `UnitForbidden`, and `InvalidField` for a caller with several who names none.
        """
        if self.units is None or details.unit in self.units:
            return details
        if details.unit is not None:
            raise UnitForbidden(
                "these photos would belong to a unit that is not yours",
                field=rules.UNIT_FIELD,
                limit=", ".join(sorted(self.units)),
                remedy="name a unit of yours, or leave it out",
            )
        if len(self.units) > 1:
            raise InvalidField(
                f"{rules.UNIT_FIELD} is missing", field=rules.UNIT_FIELD, limit=", ".join(sorted(self.units)), remedy="name one"
            )
        return details.model_copy(update={"unit": next(iter(self.units))})


def _reach(scope: str) -> Any:
    guard = requires(scope, by_unit=True)

    async def find(request: Request, principal: Principal = guard) -> Reach:
        roles: RoleBook = request.app.state.roles
        return Reach(principal, roles.units(principal.scopes, scope), roles.units(principal.scopes, ORIGINALS))

    return Depends(find)


Service = Annotated[PhotosService, provided(PhotosService)]
Public = Annotated[Reach, _reach("photos:public")]
Viewer = Annotated[Reach, _reach("photos:viewer")]
Editor = Annotated[Reach, _reach("photos:editor")]
Manager = Annotated[Reach, _reach("photos:manager")]
ManagerOfAll = Annotated[Principal, requires("photos:manager")]
Admin = Annotated[Principal, requires("photos:admin")]
