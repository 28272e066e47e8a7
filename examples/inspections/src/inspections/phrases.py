"""The Spanish words of the refusals of inspections, by their code; the English ones stand where they are raised."""

from __future__ import annotations

from typing import Final

from inspections.contract import AlreadyOpen, InspectionNotFound, InspectionNotOpen, InvalidInspection, ReportNotReady
from trenza import Phrase, Phrases

__all__ = ["PHRASES"]

PHRASES: Final[Phrases] = {
    AlreadyOpen.code: {"es": Phrase("Ya hay una inspección abierta", "El proyecto ya tiene una inspección abierta.")},
    InspectionNotFound.code: {"es": Phrase("Inspección no encontrada", "No hay ninguna inspección con este identificador.")},
    InspectionNotOpen.code: {"es": Phrase("Inspección cerrada", "La inspección está cerrada: sus fotos están completas.")},
    InvalidInspection.code: {"es": Phrase("Campo no válido", "El campo {field} no es válido. Se admite: {limit}.")},
    ReportNotReady.code: {"es": Phrase("Informe no disponible", "El informe aún no está escrito (estado: {inspection_status}).")},
}
