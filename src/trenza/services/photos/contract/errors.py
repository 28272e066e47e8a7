"""How photos refuses."""

from __future__ import annotations

from trenza.chassis.contract import ContractError

__all__ = [
    "CallbackForbidden",
    "FileMissing",
    "InlineTooLarge",
    "InvalidBase64",
    "InvalidField",
    "InvalidUpid",
    "NoPhotos",
    "NotRetryable",
    "PhotoNotFound",
    "UnderMaintenance",
    "UnitForbidden",
    "UploadCompleted",
    "UploadIncomplete",
    "UploadMismatch",
    "UploadNotFound",
    "VersionNotFound",
    "VersionNotReady",
]


class InvalidField(ContractError):
    """A field of an upload or a filter of a list is not acceptable; names the ``field``, its ``limit`` and the ``remedy``."""

    status = 422
    title = "Invalid field"


class InvalidUpid(InvalidField):
    """A UPID is 1 to 64 of letters, digits, ``-`` and ``_``."""

    code = "INVALID_UPID"
    title = "Invalid UPID"


class CallbackForbidden(InvalidField):
    """A ``callback_url`` is at an address that is not public, and that the operator does not allow."""

    code = "CALLBACK_FORBIDDEN"
    title = "Callback address forbidden"


class FileMissing(InvalidField):
    """An upload without a file in the field ``file``."""

    code = "FILE_MISSING"
    title = "File missing"


class InvalidBase64(InvalidField):
    """The field does not hold a file in base64 (RFC 4648)."""

    title = "Invalid base64"


class InlineTooLarge(ContractError):
    """The body is too large for a photo within JSON.

    ``field`` holds the photo, ``limit`` is in bytes, ``remedy`` names the way for large ones.
    """

    status = 413
    title = "Photo too large for this route"


class UnitForbidden(ContractError):
    """The caller may not upload for this organisation unit."""

    status = 403
    title = "Unit not permitted"


class PhotoNotFound(ContractError):
    """No such photo, or it has been deleted."""

    status = 404
    title = "Photo not found"


class UploadNotFound(ContractError):
    """No such direct upload of this caller's, or it has expired."""

    status = 404
    title = "Upload not found"


class UploadIncomplete(ContractError):
    """Nothing has been put to the link of a direct upload yet."""

    status = 409
    title = "Upload incomplete"


class UploadCompleted(ContractError):
    """A file came for a direct upload that has been completed: its link has served."""

    status = 409
    title = "Upload completed"


class UploadMismatch(ContractError):
    """What was put is not the file that was promised; names the ``field`` that differs and what it was (``limit``)."""

    status = 422
    title = "Upload differs"


class NoPhotos(ContractError):
    """The project has no photo (of this stage, or that this caller may see): there is nothing to put into an archive."""

    status = 404
    title = "No photos"


class VersionNotFound(ContractError):
    """The photo has no version of that name."""

    status = 404
    title = "Version not found"


class VersionNotReady(ContractError):
    """The versions of the photo have not been made (yet)."""

    status = 409
    title = "Version not ready"


class NotRetryable(ContractError):
    """Only a failed photo can be retried."""

    status = 409
    title = "Not retryable"


class UnderMaintenance(ContractError):
    """Uploads are turned away for a while. ``retry_after`` is in seconds, ``message`` the operator's own words."""

    status = 503
    title = "Servicio en mantenimiento"  # in every language: it is what the specification promises to show
