"""What the chassis itself says to users, in English and Spanish, by the code of the problem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any, Literal

from trenza.chassis.contract import ContractError

__all__ = ["PHRASES", "Language", "Phrase", "Phrases", "Refusal", "preferred_language", "say"]

Language = Literal["en", "es"]


@dataclass(frozen=True)
class Phrase:
    """A problem's title, detail and, where somebody can do something about it, remedy.

    ``{name}`` in the detail is the problem's field of that name; ``{name:size}`` tells it as an amount of bytes.
    """

    title: str
    detail: str
    remedy: str = ""

    @property
    def placeholders(self) -> frozenset[str]:
        """The fields that the detail speaks of."""
        return frozenset(name for _, name, _, _ in Formatter().parse(self.detail) if name)


Phrases = Mapping[str, Mapping[Language, Phrase]]


def _both(english: tuple[str, ...], spanish: tuple[str, ...]) -> dict[Language, Phrase]:
    return {"en": Phrase(*english), "es": Phrase(*spanish)}


PHRASES: Phrases = {
    "BAD_REQUEST": _both(
        ("Bad request", "The request could not be understood."),
        ("Solicitud incorrecta", "No se ha podido entender la solicitud."),
    ),
    "UNAUTHENTICATED": _both(
        ("Authentication required", "Send a token: Authorization: Bearer …"),
        ("Se requiere autenticación", "Envíe un token: Authorization: Bearer …"),
    ),
    "INVALID_TOKEN": _both(
        ("Invalid token", "The token is {reason}. Ask for a new one."),
        ("Token no válido", "El token no es válido o ha caducado. Solicite otro."),
    ),
    "SCOPE_MISSING": _both(
        ("Permission missing", "This needs the scope {scope} (or a higher role of the same service)."),
        ("Falta un permiso", "Se necesita el permiso {scope} (o un rol superior del mismo servicio)."),
    ),
    "FORBIDDEN": _both(
        ("Forbidden", "This is not allowed."),
        ("Prohibido", "No está permitido."),
    ),
    "NOT_FOUND": _both(
        ("Not found", "There is nothing at this address."),
        ("No encontrado", "No hay nada en esta dirección."),
    ),
    "METHOD_NOT_ALLOWED": _both(
        ("Method not allowed", "This address does not take that method; the Allow header lists those that it takes."),
        ("Método no permitido", "Esta dirección no admite ese método; la cabecera Allow indica cuáles admite."),
    ),
    "INVALID_REQUEST": _both(
        ("Invalid request", "Some of what was sent is not as it must be: see errors."),
        ("Solicitud no válida", "Parte de lo enviado no es como debe ser: consulte errors."),
    ),
    "BODY_TOO_LARGE": _both(
        ("Body too large", "The body may have at most {limit:size} here.", "send less at once"),
        ("Cuerpo demasiado grande", "El cuerpo puede tener aquí como máximo {limit:size}.", "envíe menos de una vez"),
    ),
    "DEADLINE_EXCEEDED": _both(
        (
            "Took too long",
            "It was given up after {seconds} seconds. It may have taken effect: look before repeating it.",
        ),
        (
            "Tiempo agotado",
            "La solicitud se abandonó a los {seconds} segundos. Puede haber surtido efecto: compruébelo antes de repetirla.",
        ),
    ),
    "CALL_FAILED": _both(
        ("A service failed", "The service {service} did not give an answer. The request may have taken effect in part."),
        ("Ha fallado un servicio", "El servicio {service} no ha respondido. La solicitud puede haber surtido efecto en parte."),
    ),
    "SERVICE_UNAVAILABLE": _both(
        ("Service unavailable", "The service {service} cannot be reached now. Try again later."),
        ("Servicio no disponible", "Ahora no se puede contactar con el servicio {service}. Inténtelo más tarde."),
    ),
    "DATABASE_UNAVAILABLE": _both(
        ("Database unavailable", "The database does not answer now. Try again later."),
        ("Base de datos no disponible", "La base de datos no responde ahora. Inténtelo más tarde."),
    ),
    "BLOB_MISSING": _both(
        ("Object not found", "The file is not stored (any more)."),
        ("Objeto no encontrado", "El archivo no está (o ya no está) almacenado."),
    ),
    "INVALID_SIGNATURE": _both(
        ("Link not valid", "The link is incomplete, was changed, or has expired. Ask for a new one."),
        ("Enlace no válido", "El enlace está incompleto, se ha modificado o ha caducado. Solicite otro."),
    ),
    "INVALID_BLOB_KEY": _both(
        ("Invalid object key", "The name of the stored file is not valid."),
        ("Clave de objeto no válida", "El nombre del archivo almacenado no es válido."),
    ),
    "BLOBS_UNAVAILABLE": _both(
        ("Object storage unavailable", "The file storage cannot do it now. Try again later."),
        ("Almacenamiento no disponible", "El almacenamiento de archivos no puede hacerlo ahora. Inténtelo más tarde."),
    ),
    "INTERNAL_ERROR": _both(
        ("Internal error", "Something went wrong here. Quote the correlation_id when you report it."),
        ("Error interno", "Algo ha ido mal aquí. Indique el correlation_id al comunicarlo."),
    ),
    "MULTIPART_EXPECTED": _both(
        ("Multipart expected", "Send the form as multipart/form-data with a boundary."),
        ("Se esperaba multipart", "Envíe el formulario como multipart/form-data con un boundary."),
    ),
    "MALFORMED_MULTIPART": _both(
        ("Malformed multipart", "The multipart body is damaged: {problem}."),
        ("Multipart mal formado", "El cuerpo multipart está dañado: {problem}."),
    ),
    "FILE_TOO_LARGE": _both(
        ("File too large", "The file may have at most {limit:size}.", "make it smaller, for example with a lower resolution"),
        (
            "Archivo demasiado grande",
            "El archivo puede tener como máximo {limit:size}.",
            "redúzcalo, por ejemplo con una resolución menor",
        ),
    ),
    "TOO_MANY_FILES": _both(
        ("Too many files", "Send at most {limit} files at once.", "send the rest in further requests"),
        ("Demasiados archivos", "Envíe como máximo {limit} archivos a la vez.", "envíe los demás en otras solicitudes"),
    ),
    "TOO_MANY_FIELDS": _both(
        ("Too many fields", "The form may have at most {limit} fields.", "leave out those that are not needed"),
        ("Demasiados campos", "El formulario puede tener como máximo {limit} campos.", "omita los que no hagan falta"),
    ),
    "FIELD_TOO_LARGE": _both(
        ("Field too large", "The field {field} may have at most {limit:size}.", "shorten it; send files with a filename"),
        (
            "Campo demasiado grande",
            "El campo {field} puede tener como máximo {limit:size}.",
            "acórtelo; envíe los archivos con un nombre de archivo",
        ),
    ),
    "UPLOAD_TOO_LARGE": _both(
        (
            "Upload too large",
            "Send at most {files} files of at most {limit:size} each.",
            "send fewer files in each request, and make large ones smaller",
        ),
        (
            "Envío demasiado grande",
            "Envíe como máximo {files} archivos de un máximo de {limit:size} cada uno.",
            "envíe menos archivos en cada solicitud y reduzca los grandes",
        ),
    ),
    "UPLOAD_TOO_SLOW": _both(
        ("Upload too slow", "The upload came in at less than {limit} bytes a second. Try again over a better connection."),
        ("Envío demasiado lento", "El envío llegó a menos de {limit} bytes por segundo. Inténtelo con una conexión mejor."),
    ),
    "INVALID_IDEMPOTENCY_KEY": _both(
        ("Invalid Idempotency-Key", "The Idempotency-Key must have 1 to {limit} printable ASCII characters."),
        ("Idempotency-Key no válida", "La Idempotency-Key debe tener de 1 a {limit} caracteres ASCII imprimibles."),
    ),
    "IDEMPOTENCY_KEY_REUSED": _both(
        ("Idempotency-Key reused", "This Idempotency-Key was used with another request. Use a new one for each request."),
        ("Idempotency-Key reutilizada", "Esta Idempotency-Key se usó con otra solicitud. Use una nueva en cada solicitud."),
    ),
    "IDEMPOTENCY_KEY_IN_USE": _both(
        ("Request in progress", "The first request with this Idempotency-Key is still running. Ask again in {retry_after} s."),
        ("Solicitud en curso", "La primera solicitud con esta Idempotency-Key sigue en curso. Repita en {retry_after} s."),
    ),
    "INVALID_CURSOR": _both(
        ("Invalid cursor", "The cursor is not one that this list gave. Start again without it."),
        ("Cursor no válido", "El cursor no es de esta lista. Empiece de nuevo sin él."),
    ),
    "PRECONDITION_FAILED": _both(
        (
            "Precondition failed",
            "What is here now is not the version that the request names.",
            "fetch it again without the condition",
        ),
        (
            "Condición no cumplida",
            "Lo que hay ahora no es la versión que indica la solicitud.",
            "vuelva a obtenerlo sin la condición",
        ),
    ),
    "RANGE_NOT_SATISFIABLE": _both(
        ("Range not satisfiable", "The range lies outside of the {size} bytes that there are."),
        ("Rango no satisfacible", "El rango está fuera de los {size} bytes que hay."),
    ),
}


def say(code: str, language: Language, fields: Mapping[str, Any], more: Phrases | None = None) -> Phrase | None:
    """The phrase for a code with its fields filled in; None where the language has none or a field is missing."""
    phrase = (more or {}).get(code, PHRASES.get(code, {})).get(language)
    if phrase is None or not phrase.placeholders <= fields.keys():
        return None
    return Phrase(phrase.title, _filling.vformat(phrase.detail, (), fields), phrase.remedy)


class _Filling(Formatter):
    """``str.format`` with ``{limit:size}``: 52428800 as "50 MB (52428800 bytes)"."""

    def format_field(self, value: Any, format_spec: str) -> Any:
        """One field, as its specification wants it."""
        return _size(value) if format_spec == "size" else super().format_field(value, format_spec)


_filling = _Filling()
_UNITS = ((1024**3, "GB"), (1024**2, "MB"), (1024, "KB"))


def _size(count: int) -> str:
    for unit, name in _UNITS:
        amount = f"{count / unit:.4g}"
        if count >= unit and float(amount) * unit == count:  # a rounded one would contradict the bytes beside it
            return f"{amount} {name} ({count} bytes)"
    return f"{count} bytes"


class Refusal(ContractError):
    """A refusal by the HTTP layer itself: its words come from the catalogue, by its code."""

    def __init__(self, detail: str = "", **fields: Any) -> None:
        phrase = say(self.code, "en", fields)
        super().__init__(detail or (phrase.detail if phrase else ""), **fields)


def preferred_language(accept_language: str) -> Language:
    """English or Spanish, whichever an ``Accept-Language`` header (RFC 9110, section 12.5.4) prefers; English by default."""
    best: tuple[float, Language] = (0.0, "en")
    for choice in accept_language.lower().split(",")[:20]:
        tag, _, parameter = choice.strip().partition(";")
        weight = _weight(parameter.strip())
        primary = tag.strip().split("-")[0]
        if primary in ("en", "es") and weight > best[0]:
            best = (weight, "es" if primary == "es" else "en")
    return best[1]


def _weight(parameter: str) -> float:
    """The value of ``q=0.8``; 1 without one and 0 for what cannot be read."""
    if not parameter:
        return 1.0
    name, _, value = parameter.partition("=")
    try:
        return float(value) if name.strip() == "q" else 0.0
    except ValueError:
        return 0.0
