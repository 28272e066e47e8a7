"""Renders an ordinary JPEG without ever making RGB pixels: decode to planes, scale each plane, encode the planes.

It saves the conversion of colours and the interpolation of chroma, both ways. Whatever is unusual or damaged is `Unsuited`, and
goes through libvips, which judges it: this path never refuses an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from trenza.services.images.decoding.metadata import read_exif
from trenza.services.images.jobs import Done, JobOutput, RenderJob
from trenza.services.images.placeholders import SIDE as PLACEHOLDER_SIDE
from trenza.services.images.placeholders import Pixels
from trenza.services.images.plan import Box, Step, plan
from trenza.services.images.planes.eligibility import Facts, Unsuited, eligible, read_facts
from trenza.services.images.planes.libjpeg import Damaged, LibJpeg, Plane
from trenza.services.images.planes.samples import samples_of
from trenza.services.images.planes.scaling import SWAPPED, Planes, extended, scale, scale_stored

__all__ = ["PlaneRenderer"]

_SPARE = 1.33
"""How much larger than its target an image must still be after the decoder has halved it: 2048 then loses 0.24 dB."""
_LARGEST_FILE = 64 * 1024 * 1024
"""Bytes: the file is read whole. 40 megapixels take half of that at the highest quality; the rest is a video behind the image."""
_KEPT_MEMORY = 64 * 1024 * 1024
_NEUTRAL = 128


class PlaneRenderer:
    """Renders one image after the other; keeps the memory for their planes, since new pages cost more than their use."""

    def __init__(self, codec: LibJpeg) -> None:
        self._codec = codec
        self._memory = bytearray()

    def render(self, job: RenderJob) -> Done:
        """Write every output. Raises `Unsuited`, with nothing written, for what the general path must take."""
        outputs = job["outputs"]
        if job["format"] != "jpeg" or not outputs or any(out["media_type"] != "image/jpeg" for out in outputs):
            raise Unsuited("not from JPEG to JPEG")
        if Path(job["source"]).stat().st_size > _LARGEST_FILE:
            raise Unsuited("a large file")
        data = Path(job["source"]).read_bytes()
        facts = read_facts(data)
        if facts.width * facts.height > job["max_pixels"] or max(facts.width, facts.height) > job["max_side"]:
            raise Unsuited("over the limits")
        if not eligible(facts):
            raise Unsuited(f"process {facts.process:x}, components {facts.components}")
        width, height = (facts.width, facts.height)[:: -1 if facts.orientation in SWAPPED else 1]
        steps = plan(width, height, [Box(out["width"], out["height"], out["fit"]) for out in outputs])
        try:
            versions = _Versions(self._decode(data, facts, steps), facts.orientation, steps)
            files = [self._encode(versions.part(at), outputs[step.order]) for at, step in enumerate(steps)]
        except Damaged as damaged:
            raise Unsuited(str(damaged)) from damaged
        except MemoryError as error:
            raise Unsuited("out of memory") from error
        for step, file in zip(steps, files, strict=True):
            Path(outputs[step.order]["path"]).write_bytes(file)
        sizes = [(step.width, step.height) for step in sorted(steps, key=lambda step: step.order)]
        return Done("planes", width, height, read_exif(facts.exif), sizes, _few_pixels(versions.smallest()))

    def _decode(self, data: bytes, facts: Facts, steps: Sequence[Step]) -> Planes:
        """The original in planes, halved while decoding as often as leaves enough for the largest rendition."""
        target = max(max(step.whole) for step in steps)
        eighths = next((n for n in (1, 2, 4) if max(facts.width, facts.height) * n >= 8 * _SPARE * target), 8)
        memory, planes = self._codec.decode(data, eighths, self._room, width=facts.width, height=facts.height)
        parts = tuple(_view(memory, plane) for plane in planes)
        return Planes(facts.width * eighths / 8, facts.height * eighths / 8, parts, planes[-1].coarse)

    def _room(self, size: int) -> bytearray:
        if size > _KEPT_MEMORY:
            return bytearray(size)
        if size > len(self._memory):
            self._memory = bytearray(size)
        return self._memory

    def _encode(self, planes: Planes, output: JobOutput) -> bytes:
        width, height = planes.parts[0].size
        colours = planes.parts[1:] or [Image.new("L", ((width + 1) // 2, (height + 1) // 2), _NEUTRAL)] * 2
        samples = [samples_of(_padded(part)) for part in (planes.parts[0], *colours)]
        return self._codec.encode(samples, width, height, output["quality"], progressive=output["progressive"])


class _Versions:
    """The planes of each step of a plan, made when they are first needed; upright, and 4:2:0 but for the original."""

    def __init__(self, original: Planes, orientation: int, steps: Sequence[Step]) -> None:
        self._original, self._orientation, self._steps = original, orientation, steps
        self._wholes: dict[int, Planes] = {}

    def whole(self, at: int) -> Planes:
        """The whole image at the size of a step."""
        if at not in self._wholes:
            step = self._steps[at]
            if step.source is None:
                self._wholes[at] = scale_stored(self._original, *step.whole, self._orientation)
            else:
                self._wholes[at] = scale(self.whole(step.source), *step.whole)
        return self._wholes[at]

    def smallest(self) -> Planes:
        """The smallest whole image that there is."""
        return self._wholes[max(self._wholes)] if self._wholes else self.whole(len(self._steps) - 1)

    def part(self, at: int) -> Planes:
        """The part of it that a step asks for. It is cut while scaling, so that an odd edge does not shift the colours."""
        step = self._steps[at]
        if (step.width, step.height) == step.whole:
            return self.whole(at)
        source = self.whole(at if step.source is None else step.source)
        across, down = source.width / step.whole[0], source.height / step.whole[1]
        box = step.left * across, step.top * down, step.width * across, step.height * down
        return scale(source, step.width, step.height, box=box)


def _view(memory: bytearray, plane: Plane) -> Image.Image:
    """A view of a decoded plane, not a copy."""
    view = memoryview(memory)[plane.start : plane.start + plane.stride * plane.height]
    return Image.frombuffer("L", (plane.width, plane.height), view, "raw", "L", plane.stride, 1)  # type: ignore[arg-type] # stub


def _padded(plane: Image.Image) -> Image.Image:
    """The plane, with each row's last sample repeated up to a multiple of eight."""
    beyond = -plane.width % 8
    return extended(plane, 0, 0, beyond, 0) if beyond else plane


def _few_pixels(planes: Planes) -> Pixels:
    """As few pixels of it as placeholders need."""
    share = PLACEHOLDER_SIDE / max(planes.width, planes.height, PLACEHOLDER_SIDE)
    size = max(1, round(planes.width * share)), max(1, round(planes.height * share))
    luma, *colours = (part.resize(size, Image.Resampling.BOX).tobytes() for part in planes.parts)
    blue, red = colours or [bytes([_NEUTRAL]) * len(luma)] * 2
    return Pixels(*size, luma, blue, red)
