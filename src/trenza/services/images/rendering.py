"""Makes the renditions of one image file, in a worker process: one decode, then each version from the next larger one."""

from __future__ import annotations

from typing import Any, Final, TypedDict

import pyvips

from trenza.services.images.decoding.colours import to_srgb
from trenza.services.images.decoding.source import Damaged, Source
from trenza.services.images.decoding.vips import open_with_vips, scale_memory
from trenza.services.images.plan import Box, plan

__all__ = ["JobOutput", "RenderJob", "render"]

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


class JobOutput(TypedDict):
    """One rendition that a job asks for; ``path`` is where its file goes."""

    path: str
    width: int
    height: int
    fit: str
    media_type: str
    quality: int


class RenderJob(TypedDict):
    """One image to render. Sizes are in pixels; ``format`` is a name of `headers.FORMATS`, told from the content."""

    source: str
    format: str
    max_pixels: int
    max_side: int
    processor_seconds: int
    outputs: list[JobOutput]


def render(job: RenderJob) -> dict[str, Any]:
    """Do the job and answer it, as `workers.answers` reads it: ``rendered`` or ``refused``.

    Raises MemoryError when the limit is reached, and OSError or pyvips.Error when an output cannot be written.
    """
    try:
        source = _open(job["source"], job["format"])
        if min(source.width, source.height) < 1:
            return _refused("empty", f"{source.width} x {source.height}")
        if source.width * source.height > job["max_pixels"] or max(source.width, source.height) > job["max_side"]:
            return {**_refused("too_large", "the decoder's header"), "width": source.width, "height": source.height}
        sizes = _write_all(source, job["outputs"])
    except Damaged as damaged:
        return _refused("damaged", str(damaged))
    taken = source.taken
    return {
        "kind": "rendered",
        "width": source.width,
        "height": source.height,
        "taken_at": None if taken.at is None else taken.at.isoformat(),
        "latitude": taken.latitude,
        "longitude": taken.longitude,
        "sizes": sizes,
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


def _write_all(source: Source, outputs: list[JobOutput]) -> list[tuple[int, int]]:
    """Write every output; the sizes are in the order of the outputs."""
    steps = plan(source.width, source.height, [Box(out["width"], out["height"], out["fit"]) for out in outputs])  # type: ignore[arg-type] # both sides check fit
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
    return sizes


def _decode(source: Source, width: int, height: int) -> pyvips.Image:
    """The whole image, upright and in sRGB, in memory. Raises `Damaged`, or MemoryError."""
    try:
        return to_srgb(source.scale(width, height))
    except pyvips.Error as error:
        _raise_if_out_of_memory(error)
        raise Damaged(str(error)) from error


def _save_jpeg(pixels: pyvips.Image, path: str, quality: int) -> None:
    """Progressive, 4:2:0 at every quality, coding tables made for the image."""
    pixels.jpegsave(path, Q=quality, interlace=True, optimize_coding=True, subsample_mode="on", keep="none")


def _save_webp(pixels: pyvips.Image, path: str, quality: int) -> None:
    pixels.webpsave(path, Q=quality, effort=_WEBP_EFFORT, keep="none")


def _save_avif(pixels: pyvips.Image, path: str, quality: int) -> None:
    pixels.heifsave(path, Q=quality, compression="av1", effort=_AVIF_EFFORT, keep="none")


_SAVERS: Final = {"image/jpeg": _save_jpeg, "image/webp": _save_webp, "image/avif": _save_avif}


def _save(pixels: pyvips.Image, output: JobOutput) -> None:
    try:
        _SAVERS[output["media_type"]](pixels, output["path"], output["quality"])
    except pyvips.Error as error:
        _raise_if_out_of_memory(error)
        raise


def _raise_if_out_of_memory(error: pyvips.Error) -> None:
    """Tell a failed allocation, which this image will cause every time, from other errors."""
    if any(words in str(error).lower() for words in _OUT_OF_MEMORY):
        raise MemoryError(str(error)) from error
