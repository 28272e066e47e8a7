"""How a failed validation is told: one message for each field, in English or Spanish, without what was sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trenza.chassis.http.phrases import Language

__all__ = ["SPANISH_MESSAGES", "field_errors"]

SPANISH_MESSAGES: Mapping[str, str] = {
    "missing": "Falta este campo",
    "extra_forbidden": "Este campo no se admite",
    "repeated": "Indique este parámetro una sola vez",
    "json_invalid": "No es JSON válido",
    "half_character": "Contiene medio par sustituto, que no es ningún carácter; omítalo",
    "nul_character": "Contiene el carácter NUL (U+0000), que ningún texto necesita; omítalo",
    "model_attributes_type": "Debe ser un objeto JSON",
    "string_type": "Debe ser un texto",
    "string_too_short": "Debe tener al menos {min_length} caracteres",
    "string_too_long": "Debe tener como máximo {max_length} caracteres",
    "string_pattern_mismatch": "No tiene la forma requerida: {pattern}",
    "int_type": "Debe ser un número entero",
    "int_parsing": "Debe ser un número entero",
    "float_type": "Debe ser un número",
    "float_parsing": "Debe ser un número",
    "decimal_parsing": "Debe ser un número decimal",
    "bool_type": "Debe ser verdadero o falso",
    "bool_parsing": "Debe ser verdadero o falso",
    "greater_than": "Debe ser mayor que {gt}",
    "greater_than_equal": "Debe ser mayor o igual que {ge}",
    "less_than": "Debe ser menor que {lt}",
    "less_than_equal": "Debe ser menor o igual que {le}",
    "literal_error": "Debe ser uno de: {expected}",
    "enum": "Debe ser uno de: {expected}",
    "uuid_parsing": "Debe ser un UUID",
    "datetime_from_date_parsing": "Debe ser una fecha y hora ISO 8601",
    "datetime_parsing": "Debe ser una fecha y hora ISO 8601",
    "date_from_datetime_parsing": "Debe ser una fecha ISO 8601",
    "date_parsing": "Debe ser una fecha ISO 8601",
    "timezone_aware": "Debe indicar la zona horaria",
    "url_parsing": "Debe ser una URL",
    "too_short": "Debe tener al menos {min_length} elementos",
    "too_long": "Debe tener como máximo {max_length} elementos",
}
"""By pydantic's type of error; a type that is not listed keeps pydantic's English."""

_OWN_WORDS = ("value_error", "assertion_error")
_PREFIXES = ("Value error, ", "Assertion failed, ")


def field_errors(errors: Iterable[Mapping[str, Any]], language: Language) -> list[dict[str, str]]:
    """Pydantic's errors as ``{"field": "items.0.name", "in": "body", "message": "…"}``, one for each.

    Where a limit is known, it is there as well (``"limit": "1..64"``, ``">= 0"``), written without words.
    """
    return [
        {**_place(error["loc"], error["type"]), "message": _message(error, language), **_limit(error.get("ctx") or {})}
        for error in errors
    ]


def _place(location: Sequence[str | int], kind: str) -> dict[str, str]:
    """Where the value was: in the path, query, header, cookie or body, and the dotted name of the field."""
    if not location:
        return {"field": "body", "in": "body"}
    where, *names = location
    if kind == "json_invalid":  # the second part is an offset, not a name
        names = []
    return {"field": ".".join(map(str, names)) or str(where), "in": str(where)}


def _message(error: Mapping[str, Any], language: Language) -> str:
    message = str(error["msg"])
    if error["type"] in _OWN_WORDS:
        for prefix in _PREFIXES:
            message = message.removeprefix(prefix)
        return message
    template = SPANISH_MESSAGES.get(error["type"]) if language == "es" else None
    if template is None:
        return message
    context = dict(error.get("ctx") or {})
    if "expected" in context:  # "'antes', 'durante' or 'despues'"
        context["expected"] = str(context["expected"]).replace("' or '", "' o '")
    return template.format_map(context)


_SIGNS: Mapping[str, str] = {
    "ge": ">= {}",
    "gt": "> {}",
    "le": "<= {}",
    "lt": "< {}",
    "min_length": ">= {}",
    "max_length": "<= {}",
    "pattern": "{}",
}


def _limit(context: Mapping[str, Any]) -> dict[str, str]:
    """What pydantic says about the limit that was not kept."""
    if "expected" in context:
        return {"limit": str(context["expected"]).replace("' or '", "', '").replace("'", "")}
    limits = [sign.format(context[name]) for name, sign in _SIGNS.items() if name in context]
    return {"limit": ", ".join(limits)} if limits else {}
