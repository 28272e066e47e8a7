"""The Spanish words of the refusals of photos, by their code; the English ones stand where they are raised."""

from __future__ import annotations

from typing import Final

from trenza.chassis.http.phrases import Phrase, Phrases
from trenza.services.photos.contract import (
    FileMissing,
    InlineTooLarge,
    InvalidBase64,
    InvalidField,
    InvalidUpid,
    NotRetryable,
    PhotoNotFound,
    UnderMaintenance,
    UnitForbidden,
    UploadIncomplete,
    UploadMismatch,
    UploadNotFound,
    VersionNotFound,
    VersionNotReady,
)

__all__ = ["PHRASES"]

PHRASES: Final[Phrases] = {
    InvalidField.code: {"es": Phrase("Campo no válido", "El campo {field} no es válido. Se admite: {limit}.")},
    InvalidUpid.code: {"es": Phrase("UPID no válido", "El campo {field} no es un UPID. Se admite: {limit}.")},
    InvalidBase64.code: {"es": Phrase("Base64 no válido", "El campo {field} no contiene un archivo en base64.")},
    InlineTooLarge.code: {
        "es": Phrase(
            "Foto demasiado grande para esta ruta",
            "El cuerpo puede tener aquí como máximo {limit:size}.",
            "use la subida directa, POST /api/photos/uploads",
        )
    },
    FileMissing.code: {"es": Phrase("Falta el archivo", "Envíe al menos una foto en el campo {field}.")},
    PhotoNotFound.code: {"es": Phrase("Foto no encontrada", "No hay ninguna foto con este identificador, o se ha eliminado.")},
    UploadNotFound.code: {
        "es": Phrase("Subida no encontrada", "No tiene ninguna subida con este identificador, o ha caducado. Pida otra.")
    },
    UploadIncomplete.code: {
        "es": Phrase("Subida incompleta", "Aún no se ha recibido el archivo en el enlace. Envíelo con PUT y complete después.")
    },
    UploadMismatch.code: {
        "es": Phrase("La subida no coincide", "Lo recibido no coincide con lo anunciado en {field} ({limit}). Envíelo otra vez.")
    },
    UnitForbidden.code: {"es": Phrase("Centro gestor no permitido", "No puede subir fotos para ese centro gestor ({field}).")},
    VersionNotFound.code: {"es": Phrase("Versión no encontrada", "Esta foto no tiene ninguna versión con ese nombre.")},
    VersionNotReady.code: {
        "es": Phrase("Versión no disponible", "Las versiones de esta foto no están disponibles (estado: {photo_status}).")
    },
    UnderMaintenance.code: {
        "es": Phrase(
            "Servicio en mantenimiento",
            "Por ahora no se admiten fotos nuevas; las consultas siguen funcionando. Vuelva a intentarlo en {retry_after} s.",
        )
    },
    NotRetryable.code: {
        "es": Phrase(
            "No se puede reintentar", "Solo se puede reintentar una foto fallida; esta está en el estado {photo_status}."
        )
    },
}
