"""The Spanish words of the refusals of photos, by their code; the English ones stand where they are raised."""

from __future__ import annotations

from typing import Final

from trenza.chassis.http.phrases import Phrase, Phrases
from trenza.services.photos.contract import (
    FileMissing,
    InvalidField,
    InvalidUpid,
    NotRetryable,
    PhotoNotFound,
    UnderMaintenance,
    VersionNotFound,
    VersionNotReady,
)

__all__ = ["PHRASES"]

PHRASES: Final[Phrases] = {
    InvalidField.code: {"es": Phrase("Campo no válido", "El campo {field} no es válido. Se admite: {limit}.")},
    InvalidUpid.code: {"es": Phrase("UPID no válido", "El campo {field} no es un UPID. Se admite: {limit}.")},
    FileMissing.code: {"es": Phrase("Falta el archivo", "Envíe al menos una foto en el campo {field}.")},
    PhotoNotFound.code: {"es": Phrase("Foto no encontrada", "No hay ninguna foto con este identificador, o se ha eliminado.")},
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
