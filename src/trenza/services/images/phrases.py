"""The Spanish words of the refusals of images, by their code; the English ones stand where they are raised."""

from __future__ import annotations

from typing import Final

from trenza.chassis.http.phrases import Phrase, Phrases
from trenza.services.images.contract import (
    ImageTooLarge,
    InvalidDimensions,
    InvalidImageFormat,
    ProcessingFailed,
    ProcessingTimeout,
    SourceMissing,
)

__all__ = ["PHRASES"]

PHRASES: Final[Phrases] = {
    InvalidImageFormat.code: {
        "es": Phrase(
            "Formato de imagen no válido",
            "El archivo enviado en {field} no es una imagen de un formato admitido, o está dañado o incompleto.",
            "envíe la imagen original completa, en un formato habitual como JPEG, PNG o HEIC",
        )
    },
    ImageTooLarge.code: {
        "es": Phrase(
            "Imagen demasiado grande",
            "La imagen enviada en {field} supera el máximo admitido: {limit} ({unit}).",
            "redúzcala y envíela de nuevo",
        )
    },
    InvalidDimensions.code: {
        "es": Phrase("Dimensiones no válidas", "La imagen enviada en {field} tiene un lado sin píxeles.", "envíe otra imagen")
    },
    ProcessingTimeout.code: {
        "es": Phrase(
            "Procesamiento demasiado largo",
            "Procesar la imagen enviada en {field} requiere más del tiempo permitido: {limit} s.",
            "redúzcala, o guárdela como JPEG normal, y envíela de nuevo",
        )
    },
    ProcessingFailed.code: {
        "es": Phrase(
            "Ha fallado el procesamiento",
            "No se ha podido procesar la imagen enviada en {field}.",
            "inténtelo de nuevo; si vuelve a fallar, guarde la imagen otra vez y envíela",
        )
    },
    SourceMissing.code: {"es": Phrase("Falta el original", "No hay ningún objeto almacenado con la clave de {field}.")},
}
