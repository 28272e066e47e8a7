"""Celery: RabbitMQ, SQS, Redis, or PostgreSQL through the SQLAlchemy transport; threads, since it has no coroutines."""

from __future__ import annotations

import threading
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from celery import Celery
from celery.signals import worker_ready
from protocol import NOTE, Tally, arguments, say, send_sync


def _main(options: Namespace) -> None:
    app = Celery("bench", broker=options.url)
    app.conf.update(task_acks_late=True, task_ignore_result=True, worker_redirect_stdouts=False, broker_pool_limit=20)
    if options.url.startswith("amqp"):
        app.conf.update(
            task_default_queue=options.queue, task_default_queue_type="quorum", broker_native_delayed_delivery_queue_type="quorum"
        )
        app.conf.broker_transport_options = {"confirm_publish": True}
    tally = Tally(options.count)

    @app.task(name="note")
    def note(number: int, note: str) -> None:  # noqa: ARG001 - as large as everybody's
        tally(number)

    def send(numbers: Sequence[int]) -> None:
        for number in numbers:
            note.delay(number, NOTE)

    @worker_ready.connect
    def ready(**_: Any) -> None:
        threading.Timer(1, say, ["ready"]).start()

    def tell() -> None:
        tally.complete.wait()
        say({"begun": tally.begun})

    match options.action:
        case "send":
            app.connection_for_write().ensure_connection()
            send_sync(options, send)
        case "work":
            threading.Thread(target=tell, daemon=True).start()
            quiet = ("--without-gossip", "--without-mingle", "--loglevel=ERROR")
            app.worker_main(["--quiet", "worker", "--pool=threads", f"--concurrency={options.concurrency}", *quiet])


_main(arguments())
