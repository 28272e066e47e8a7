"""What the gateway says to users, in English and Spanish: title, detail and remedy, by the code of the problem."""

from __future__ import annotations

from typing import Final

from trenza.chassis.http.catalogue import Words

__all__ = ["GATEWAY_CATALOGUE"]

GATEWAY_CATALOGUE: Final[dict[str, tuple[Words, Words]]] = {
    "UPSTREAM_TIMEOUT": (
        (
            "Service too slow",
            "{service} did not answer within {seconds:g} s. What was asked may have been done all the same.",
            "look whether it was done before you ask again",
        ),
        (
            "Servicio demasiado lento",
            "{service} no respondió en {seconds:g} s. Es posible que lo solicitado se haya hecho.",
            "compruebe si se hizo antes de repetir la solicitud",
        ),
    ),
    "UPSTREAM_FAILED": (
        (
            "Service broke off",
            "The connection to {service} broke before it answered. What was asked may have been done all the same.",
            "look whether it was done before you ask again; with an Idempotency-Key it is safe to repeat",
        ),
        (
            "El servicio se interrumpió",
            "La conexión con {service} se cortó antes de la respuesta. Es posible que lo solicitado se haya hecho.",
            "compruebe si se hizo antes de repetir; con una Idempotency-Key puede repetirse sin riesgo",
        ),
    ),
    "MALFORMED_REQUEST": (
        ("Malformed request", "The request cannot be passed on: {reason}.", "correct the header that the detail names"),
        ("Solicitud mal formada", "La solicitud no puede transmitirse: {reason}.", "corrija la cabecera que indica el detalle"),
    ),
    "ORIGIN_NOT_ALLOWED": (
        (
            "Origin not allowed",
            "Pages of {origin} may not open a WebSocket here.",
            "ask the operator to add the origin to CORS_ORIGINS",
        ),
        (
            "Origen no permitido",
            "Las páginas de {origin} no pueden abrir un WebSocket aquí.",
            "pida al operador que añada el origen a CORS_ORIGINS",
        ),
    ),
    "GATEWAY_LOOP": (
        (
            "Request in a loop",
            "The request has come through this gateway already: an upstream leads back to it.",
            "tell the operator: the address of an upstream is that of the gateway",
        ),
        (
            "Solicitud en bucle",
            "La solicitud ya pasó por esta pasarela: un servicio conduce de vuelta a ella.",
            "avise al operador: la dirección de un servicio es la de la pasarela",
        ),
    ),
}
