"""The Spanish words of the refusals of photos, by their code; the English ones stand where they are raised."""

from __future__ import annotations

from typing import Final

from trenza.chassis.http.phrases import Language, Phrase, Phrases
from trenza.services.photos.contract import (
    CallbackForbidden,
    FileMissing,
    InlineTooLarge,
    InvalidBase64,
    InvalidField,
    InvalidUpid,
    NoPhotos,
    NotRetryable,
    PhotoNotFound,
    UnderMaintenance,
    UnitForbidden,
    UploadCompleted,
    UploadIncomplete,
    UploadMismatch,
    UploadNotFound,
    VersionNotFound,
    VersionNotReady,
)

__all__ = ["PHRASES"]


def _es(title: str, detail: str, remedy: str) -> dict[Language, Phrase]:
    return {"es": Phrase(title, detail, remedy)}


_FIELD = "Campo no válido"

PHRASES: Final[Phrases] = {
    InvalidField.code: _es(_FIELD, "El campo {field} no es válido. Se admite: {limit}.", "corríjalo u omítalo"),
    f"{InvalidField.code}:stage": _es(_FIELD, "El campo stage no es ninguno de: {limit}.", "envíe uno de ellos u omítalo"),
    f"{InvalidField.code}:description": _es(
        _FIELD, "El campo description tiene demasiados caracteres. Se admiten: {limit}.", "acórtelo"
    ),
    f"{InvalidField.code}:file": _es(
        _FIELD, "La parte file no indica que sea un archivo. Se admite: {limit}.", 'indique filename="…" en esa parte'
    ),
    f"{InvalidField.code}:location": _es(
        _FIELD,
        "El campo location no es un lugar de la Tierra. Se admite: {limit}.",
        "escríbalo como 3.4516,-76.5320, en grados decimales",
    ),
    f"{InvalidField.code}:callback_url": _es(
        _FIELD,
        "El campo callback_url no es una URL http(s) absoluta sin usuario ni contraseña. Se admite: {limit}.",
        "escríbala como https://example.org/hooks/photos",
    ),
    f"{InvalidField.code}:centro_gestor": _es(
        _FIELD, "El campo centro_gestor no es válido o falta. Se admite: {limit}.", "envíe el código del centro, sin espacios"
    ),
    **{
        f"{InvalidField.code}:{field}": _es(
            _FIELD,
            f"El campo {field} no es una fecha y hora admitida, o no concuerda con las demás. Se admite: {{limit}}.",
            "escríbala como 2026-05-31T14:30:00-05:00; en una URL, codifique '+' como %2B",
        )
        for field in ("taken_at", "from", "to")
    },
    CallbackForbidden.code: _es(
        "Dirección de aviso no permitida",
        "El campo {field} indica una dirección que no es pública, a la que nunca se avisaría.",
        "indique un host público; TRENZA_PHOTOS_WEBHOOK_ALLOW puede admitir este",
    ),
    InvalidUpid.code: _es(
        "UPID no válido",
        "El campo {field} no es un UPID. Se admite: {limit}.",
        "envíe el identificador de la unidad de proyecto, como UNP-1978",
    ),
    InvalidBase64.code: _es(
        "Base64 no válido", "El campo {field} no contiene un archivo en base64.", "codifique los bytes del archivo"
    ),
    InlineTooLarge.code: _es(
        "Foto demasiado grande para esta ruta",
        "El cuerpo puede tener aquí como máximo {limit:size}.",
        "use la subida directa, POST /api/photos/uploads",
    ),
    FileMissing.code: _es("Falta el archivo", "El formulario no contiene ninguna foto.", "envíe al menos una en el campo file"),
    PhotoNotFound.code: _es(
        "Foto no encontrada",
        "No hay ninguna foto con este identificador, o se ha eliminado.",
        "compruebe el identificador; GET /api/photos muestra las que hay",
    ),
    UploadNotFound.code: _es(
        "Subida no encontrada", "No tiene ninguna subida con este identificador, o ha caducado.", "pida otra"
    ),
    UploadCompleted.code: _es(
        "Subida completada", "Esta subida ya se ha completado; su enlace no admite más archivos.", "pida otra subida"
    ),
    UploadIncomplete.code: _es(
        "Subida incompleta", "Aún no se ha recibido el archivo en el enlace.", "envíelo con PUT y complete después"
    ),
    UploadMismatch.code: _es(
        "La subida no coincide", "Lo recibido no coincide con lo anunciado en {field} ({limit}).", "envíe el archivo otra vez"
    ),
    UnitForbidden.code: _es(
        "Centro gestor no permitido",
        "No puede subir fotos para ese centro gestor ({field}). Se admite: {limit}.",
        "indique uno de los suyos, u omítalo",
    ),
    VersionNotFound.code: _es(
        "Versión no encontrada", "Esta foto no tiene ninguna versión con ese nombre.", "pida una de versions"
    ),
    VersionNotReady.code: _es(
        "Versión no disponible",
        "Las versiones de esta foto no están disponibles (estado: {photo_status}).",
        "pregunte de nuevo más tarde; si la foto ha fallado, POST …/retry lo intenta otra vez",
    ),
    f"{VersionNotReady.code}:version": _es(
        "Versión no disponible",
        "Ninguna de las fotos tiene aún esta versión. Se puede pedir: {limit}.",
        "pregunte de nuevo más tarde, o pida otra versión",
    ),
    NoPhotos.code: _es(
        "Sin fotos",
        "No hay ninguna foto que poner en el archivo: la unidad de proyecto no tiene, o ninguna como se pide.",
        "compruebe el UPID y stage; GET /api/projects/{upid}/photos muestra las que hay",
    ),
    UnderMaintenance.code: _es(
        "Servicio en mantenimiento",
        "Por ahora no se admiten fotos nuevas; las consultas siguen funcionando. Vuelva a intentarlo en {retry_after} s.",
        "vuelva a enviarla después de Retry-After",
    ),
    NotRetryable.code: _es(
        "No se puede reintentar",
        "Solo se puede reintentar una foto fallida; esta está en el estado {photo_status}.",
        "compruebe antes su estado",
    ),
}
