"""Trenza: the application of a whole process with its middleware, and a contract bound to it over the network."""

from __future__ import annotations

from uuid import UUID, uuid4

from bench.calls import Bank, Payments
from protocol import arguments, call_and_tell, ready, run

from trenza.chassis.auth.keys import SigningKey
from trenza.chassis.calls.callees import Callees
from trenza.chassis.context import Context, Principal, use_context
from trenza.chassis.runtime.application import assemble
from trenza.chassis.runtime.placement import Placement
from trenza.chassis.runtime.server import bind, serve
from trenza.chassis.service import Service
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.telemetry.logs import configure_logging

options = arguments()
settings = PlatformSettings(data_dir=options.data, log_level="warning")  # none of the others writes an access log either


async def _call() -> None:
    callees = Callees(settings, SigningKey.load_or_create(options.data / "keys" / "signing.pem"))
    payments = callees.bind(Payments, [f"http://127.0.0.1:{options.port}"], caller="bench")
    work_id: UUID = uuid4()
    with use_context(Context(correlation_id="bench", principal=Principal(subject="ana", scopes=("payments:viewer",)))):
        await call_and_tell(lambda: payments.find_hold(work_id=work_id, cents=100), options.count)
    await callees.close()


if options.action == "serve":
    configure_logging(settings)
    placement = Placement(called=True)
    app = assemble((Service(contract=Payments, implementation=lambda _resources: Bank()),), settings, placement=placement)
    serve(app, bind("127.0.0.1", options.port), on_started=ready)
else:
    run(_call())
