"""The worker process: ``python -m trenza.services.images.workers.process`` answers jobs until its standard input closes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from trenza.services.images.workers.confinement import confine, limit_processor_time
from trenza.services.images.workers.frames import read_frame, to_frame

if TYPE_CHECKING:
    from trenza.services.images.jobs import Done, RenderJob

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
    fast, slow = _fast_path(outbound)  # before libvips, which may start threads
    from trenza.services.images.decoding.vips import prepare_libvips  # noqa: PLC0415 - only once confined
    from trenza.services.images.rendering import render  # noqa: PLC0415 - only once confined

    prepare_libvips()
    _send(outbound, {"kind": "ready", "slow": slow[:500]})
    while (payload := read_frame(inbound)) is not None:
        job = orjson.loads(payload)
        limit_processor_time(job["processor_seconds"])
        try:
            answer = render(job, fast)
        except MemoryError as error:
            answer = {"kind": "refused", "reason": "memory", "detail": str(error)[:500]}
        except Exception as error:  # noqa: BLE001 - the process that asked logs it and replaces this one
            answer = {"kind": "broken", "detail": f"{type(error).__name__}: {error}"[:500]}
        _send(outbound, answer)


def _fast_path(outbound: BinaryIO) -> tuple[Callable[[RenderJob], Done] | None, str]:
    """The fast path, or why there is none: a package that is not installed, or a library that does not fit."""

    def give_up(message: str) -> None:
        _send(outbound, {"kind": "unsuited", "detail": message[:500]})

    try:
        from trenza.services.images.planes.libjpeg import LibJpeg  # noqa: PLC0415 - only once confined
        from trenza.services.images.planes.trial import try_out  # noqa: PLC0415 - only once confined

        if reason := try_out():
            return None, reason
        from trenza.services.images.planes.renderer import PlaneRenderer  # noqa: PLC0415 - it brings libvips

        return PlaneRenderer(LibJpeg(give_up)).render, ""
    except (ImportError, OSError, AttributeError) as error:
        return None, f"{type(error).__name__}: {error}"


def _send(outbound: BinaryIO, answer: dict[str, Any]) -> None:
    outbound.write(to_frame(orjson.dumps(answer)))
    outbound.flush()


if __name__ == "__main__":
    main()
