"""Makes the renditions of one image file, in a worker process: one decode, then each version from the next larger one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final

import pyvips
from PIL import Image

from trenza.services.images.decoding.colours import to_srgb
from trenza.services.images.decoding.source import Damaged, Source
from trenza.services.images.decoding.vips import open_with_vips, scale_memory
from trenza.services.images.jobs import Done, JobOutput, RenderJob
from trenza.services.images.placeholders import SIDE, Pixels, dominant_colour, thumbhash
from trenza.services.images.plan import Box, plan
from trenza.services.images.planes.eligibility import Unsuited

__all__ = ["render"]

_WEBP_EFFORT, _AVIF_EFFORT = 2, 0
"""Beyond these, each step costs several times the processor time for a few percent of the bytes."""

_OUT_OF_MEMORY: Final = (
    "out of memory",
    "insufficient memory",
    "memory allocation",
    "unable to allocate",
    "encoder plugin generated an error",
)
"""How libvips and the libraries under it say that an allocation failed; libheif says it of its AV1 encoder in many ways."""


def render(job: RenderJob, fast: Callable[[RenderJob], Done] | None = None) -> dict[str, Any]:
    """Do the job and answer it, as `workers.answers` reads it: ``rendered`` or ``refused``.

    ``fast`` is tried first when the job allows it; it raises `Unsuited` for what is not its own. Raises MemoryError when the
    limit is reached, and OSError or pyvips.Error when an output cannot be written.
    """
    if fast is not None and job["fast"]:
        with contextlib.suppress(Unsuited):  # it has written nothing
            return _rendered(fast(job))
    try:
        source = _open(job["source"], job["format"])
        if min(source.width, source.height) < 1:
            return _refused("empty", f"{source.width} x {source.height}")
        if source.width * source.height > job["max_pixels"] or max(source.width, source.height) > job["max_side"]:
            return {**_refused("too_large", "the decoder's header"), "width": source.width, "height": source.height}
        sizes, pixels = _write_all(source, job["outputs"])
    except Damaged as damaged:
        return _refused("damaged", str(damaged))
    return _rendered(Done("libvips", source.width, source.height, source.taken, sizes, pixels))


def _rendered(done: Done) -> dict[str, Any]:
    return {
        "kind": "rendered",
        "path": done.path,
        "width": done.width,
        "height": done.height,
        "taken_at": None if done.taken.at is None else done.taken.at.isoformat(),
        "latitude": done.taken.latitude,
        "longitude": done.taken.longitude,
        "sizes": done.sizes,
        "thumbhash": None if done.pixels is None else thumbhash(done.pixels),
        "dominant_colour": None if done.pixels is None else dominant_colour(done.pixels),
    }


def _refused(reason: str, detail: str) -> dict[str, Any]:
    return {"kind": "refused", "reason": reason, "detail": detail[:500]}


def _open(path: str, image_format: str) -> Source:
    """Open with the format's decoder; raises `Damaged`. The rarer decoders load when they are first needed."""
    if image_format == "heic":
        from trenza.services.images.decoding.heif import open_with_heif  # noqa: PLC0415 - see above

        return open_with_heif(path)
    if image_format != "bmp":
        try:
            return open_with_vips(path, image_format)
        except Damaged as damaged:
            # libvips 8.18 refuses every TIFF in 8-bit Lab with these words.
            if "bad labq format" not in str(damaged):
                raise
    from trenza.services.images.decoding.pillow import open_with_pillow  # noqa: PLC0415 - see above

    return open_with_pillow(path, image_format)


def _write_all(source: Source, outputs: list[JobOutput]) -> tuple[list[tuple[int, int]], Pixels | None]:
    """Write every output. Returns their sizes in their order, and the whole image in a few pixels."""
    steps = plan(source.width, source.height, [Box(out["width"], out["height"], out["fit"]) for out in outputs])
    wholes: list[pyvips.Image] = []
    sizes = [(0, 0)] * len(outputs)
    for step in steps:
        if step.source is None:
            whole = _decode(source, *step.whole)
        else:
            whole = scale_memory(wholes[step.source], *step.whole).copy_memory()
        wholes.append(whole)
        part = whole
        if (step.width, step.height) != step.whole:
            part = whole.crop(step.left, step.top, step.width, step.height)
        _save(part, outputs[step.order])
        sizes[step.order] = step.width, step.height
    return sizes, _few_pixels(wholes[-1]) if wholes else None


def _decode(source: Source, width: int, height: int) -> pyvips.Image:
    """The whole image, upright and in sRGB, in memory. Raises `Damaged`, or MemoryError."""
    try:
        return to_srgb(source.scale(width, height))
    except pyvips.Error as error:
        _raise_if_out_of_memory(error)
        raise Damaged(str(error)) from error


def _few_pixels(smallest: pyvips.Image) -> Pixels:
    """As few pixels as placeholders need, of the smallest version."""
    few = smallest.thumbnail_image(SIDE, height=SIDE, size="down", no_rotate=True)
    picture = Image.frombytes("RGB", (few.width, few.height), few.write_to_memory()).convert("YCbCr")
    return Pixels(few.width, few.height, *(band.tobytes() for band in picture.split()))


def _save_jpeg(pixels: pyvips.Image, output: JobOutput) -> None:
    """4:2:0 at every quality, coding tables made for the image."""
    options = {"interlace": output["progressive"], "optimize_coding": True, "subsample_mode": "on", "keep": "none"}
    pixels.jpegsave(output["path"], Q=output["quality"], **options)


def _save_webp(pixels: pyvips.Image, output: JobOutput) -> None:
    pixels.webpsave(output["path"], Q=output["quality"], effort=_WEBP_EFFORT, keep="none")


def _save_avif(pixels: pyvips.Image, output: JobOutput) -> None:
    pixels.heifsave(output["path"], Q=output["quality"], compression="av1", effort=_AVIF_EFFORT, keep="none")


_SAVERS: Final = {"image/jpeg": _save_jpeg, "image/webp": _save_webp, "image/avif": _save_avif}


def _save(pixels: pyvips.Image, output: JobOutput) -> None:
    try:
        _SAVERS[output["media_type"]](pixels, output)
    except pyvips.Error as error:
        _raise_if_out_of_memory(error)
        raise


def _raise_if_out_of_memory(error: pyvips.Error) -> None:
    """Tell a failed allocation, which this image will cause every time, from other errors."""
    if any(words in str(error).lower() for words in _OUT_OF_MEMORY):
        raise MemoryError(str(error)) from error
