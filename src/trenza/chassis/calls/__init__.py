"""Calls from service to service: one typed contract, carried out in this process or over the internal route.

`trenza.chassis.calls.callees` makes calls to other processes. It is not imported here: who makes none need not load aiohttp.
"""

from trenza.chassis.calls.client import bind_wire
from trenza.chassis.calls.large_bodies import LargeBodies
from trenza.chassis.calls.local import bind_local
from trenza.chassis.calls.passports import Passports
from trenza.chassis.calls.route import call_router
from trenza.chassis.calls.transport import Answer, Transport, TransportFailed

__all__ = [
    "Answer",
    "LargeBodies",
    "Passports",
    "Transport",
    "TransportFailed",
    "bind_local",
    "bind_wire",
    "call_router",
]
