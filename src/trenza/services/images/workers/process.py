"""The worker process: ``python -m trenza.services.images.workers.process`` answers jobs until its standard input closes."""

from __future__ import annotations

import os
import sys
from typing import Any, BinaryIO

import orjson

from trenza.services.images.workers.confinement import confine, limit_processor_time
from trenza.services.images.workers.frames import read_frame, to_frame

__all__ = ["main"]


def main() -> None:
    """Confine this process, load the decoder, and answer jobs one at a time."""
    confinement = orjson.loads(sys.argv[1])
    inbound, outbound = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # Whatever a library prints must not end up between the frames.
    os.dup2(2, 1)
    confine(**confinement)
    _serve(inbound, outbound)


def _serve(inbound: BinaryIO, outbound: BinaryIO) -> None:
    from trenza.services.images.decoding.vips import prepare_libvips  # noqa: PLC0415 - only once confined
    from trenza.services.images.rendering import render  # noqa: PLC0415 - only once confined

    prepare_libvips()
    _send(outbound, {"kind": "ready"})
    while (payload := read_frame(inbound)) is not None:
        job = orjson.loads(payload)
        limit_processor_time(job["processor_seconds"])
        try:
            answer = render(job)
        except MemoryError as error:
            answer = {"kind": "refused", "reason": "memory", "detail": str(error)[:500]}
        except Exception as error:  # noqa: BLE001 - the process that asked logs it and replaces this one
            answer = {"kind": "broken", "detail": f"{type(error).__name__}: {error}"[:500]}
        _send(outbound, answer)


def _send(outbound: BinaryIO, answer: dict[str, Any]) -> None:
    outbound.write(to_frame(orjson.dumps(answer)))
    outbound.flush()


if __name__ == "__main__":
    main()
