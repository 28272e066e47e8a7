"""What is said to those who ask too often, in English and Spanish."""

from __future__ import annotations

from typing import Final

__all__ = ["RATE_LIMIT_CATALOGUE"]

RATE_LIMIT_CATALOGUE: Final = {
    "RATE_LIMITED": (
        (
            "Too many requests",
            "The limit is {limit} requests in {window_seconds} s; there is room again in {retry_after} s.",
            "wait for the seconds in Retry-After, and send requests at a steadier pace",
        ),
        (
            "Demasiadas solicitudes",
            "El límite es de {limit} solicitudes en {window_seconds} s; podrá enviar otra dentro de {retry_after} s.",
            "espere los segundos que indica Retry-After y reparta las solicitudes en el tiempo",
        ),
    ),
    "RATE_LIMITED:Authorization": (
        (
            "Too many requests",
            "The limit is {limit} requests in {window_seconds} s; there is room again in {retry_after} s.",
            "wait for the seconds in Retry-After, or send a valid token, for which the limit is higher",
        ),
        (
            "Demasiadas solicitudes",
            "El límite es de {limit} solicitudes en {window_seconds} s; podrá enviar otra dentro de {retry_after} s.",
            "espere los segundos que indica Retry-After, o envíe un token válido, cuyo límite es mayor",
        ),
    ),
}
