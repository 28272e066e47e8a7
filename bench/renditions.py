"""Four renditions of photographs of 12 and 24 megapixels: this engine's two paths, Pillow, and the bounds."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Final, Literal

import numpy as np
import orjson
from bench.quality import luma, psnr, ssim
from bench.rendition_peers import PEERS, NotHere
from bench.tables import Figures
from PIL import Image, ImageOps

from trenza.chassis.testing.pictures import camera_exif, encoded, photograph
from trenza.services.images.jobs import JobOutput, RenderJob
from trenza.services.images.planes.libjpeg import LibJpeg
from trenza.services.images.planes.renderer import PlaneRenderer

ROUNDS = 7
SIZES: Final = {"12": (4000, 3000), "24": (6000, 4000)}
"""Megapixels, and the sides that make them."""
PRESETS: Final[tuple[tuple[str, int, Literal["inside", "cover"], int], ...]] = (
    ("large", 2048, "inside", 82),
    ("medium", 1280, "inside", 72),
    ("small", 640, "inside", 75),
    ("thumbnail", 320, "cover", 75),
)
FEW = 5
BOUNDS = ("decode and encode, baseline", "decode and encode, progressive")

_planes = PlaneRenderer(LibJpeg(sys.exit))


def _job(source: Path, folder: Path, *, fast: bool) -> RenderJob:
    """The job of the four presets."""
    return RenderJob(
        source=str(source),
        format="jpeg",
        max_pixels=100_000_000,
        max_side=65_535,
        processor_seconds=60,
        fast=fast,
        outputs=[
            JobOutput(
                path=str(folder / f"{name}.jpg"),
                width=box,
                height=box,
                fit=fit,
                media_type="image/jpeg",
                quality=quality,
                progressive=True,
            )
            for name, box, fit, quality in PRESETS
        ],
    )


def _ours(source: Path, folder: Path, *, fast: bool) -> None:
    """What a worker process does."""
    from trenza.services.images.rendering import render  # noqa: PLC0415 - libvips reads its settings when it loads

    answer = render(_job(source, folder, fast=fast), _planes.render)
    assert answer["kind"] == "rendered", answer
    assert answer["path"] == ("planes" if fast else "libvips")


def _over_planes(source: Path, folder: Path) -> None:
    _ours(source, folder, fast=True)


def _with_libvips(source: Path, folder: Path) -> None:
    _ours(source, folder, fast=False)


def _scaled(image: Image.Image, box: int, fit: str) -> Image.Image:
    """A version of an image, as Pillow's users make it."""
    if fit == "cover":
        return ImageOps.fit(image, (box, box), Image.Resampling.LANCZOS)
    version = image.copy()
    version.thumbnail((box, box), Image.Resampling.LANCZOS)
    return version


def _pillow_as_usual(source: Path, folder: Path) -> None:
    """Open, turn upright, and make every version from the full image."""
    image = ImageOps.exif_transpose(Image.open(source)).convert("RGB")
    for name, box, fit, quality in PRESETS:
        _scaled(image, box, fit).save(folder / f"{name}.jpg", "JPEG", quality=quality, progressive=True, optimize=True)


def _pillow_chain(source: Path, folder: Path) -> None:
    """Let the decoder scale first, and make each version from the next larger one."""
    image = Image.open(source)
    image.draft("RGB", (2048, 2048))
    version = ImageOps.exif_transpose(image).convert("RGB")
    for name, box, fit, quality in PRESETS:
        version = _scaled(version, box, fit)
        version.save(folder / f"{name}.jpg", "JPEG", quality=quality, progressive=True, optimize=True)


_METHODS: Final[dict[str, Callable[[Path, Path], None]]] = {
    "Trenza, planes": _over_planes,
    "Trenza, libvips": _with_libvips,
    "Pillow, draft and chain": _pillow_chain,
    "Pillow as usually written": _pillow_as_usual,
}


def _references(source: Path) -> list[Image.Image]:
    """Each version in floating-point Lanczos from the whole upright image."""
    upright = ImageOps.exif_transpose(Image.open(source)).convert("RGB")
    found = []
    for _, box, fit, _ in PRESETS:
        scale = (max if fit == "cover" else min)(box / upright.width, box / upright.height)
        whole = int(upright.width * scale + 0.5), int(upright.height * scale + 0.5)
        bands = [np.asarray(band.convert("F").resize(whole, Image.Resampling.LANCZOS)) for band in upright.split()]
        picture = Image.fromarray(np.dstack(bands).round().clip(0, 255).astype(np.uint8))
        cut = (box, box) if fit == "cover" else whole
        left, top = (whole[0] - cut[0]) // 2, (whole[1] - cut[1]) // 2
        found.append(picture.crop((left, top, left + cut[0], top + cut[1])))
    return found


def _quality(folder: Path, references: list[Image.Image]) -> tuple[str, str]:
    """PSNR in dB and SSIM of the luma against the references, from the largest version to the smallest."""
    pairs = [(luma(Image.open(folder / f"{name}.jpg")), luma(best)) for (name, *_), best in zip(PRESETS, references, strict=True)]
    return " ".join(f"{psnr(*pair):.1f}" for pair in pairs), " ".join(f"{ssim(*pair):.3f}" for pair in pairs)


def _bound(source: Path, folder: Path, versions: list[Image.Image], *, progressive: bool) -> None:
    """One decode and four encodes, and nothing between them: no way over RGB pixels can take less."""
    Image.open(source).load()
    for (name, _, _, quality), version in zip(PRESETS, versions, strict=True):
        version.save(folder / f"{name}.jpg", "JPEG", quality=quality, progressive=progressive)


def _peak_megabytes(method: str, source: Path, folder: Path) -> float:
    """The peak of a fresh process that does it a few times."""
    command = [sys.executable, "-m", "bench.renditions", method, str(source), str(folder)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - our own program
    return float(orjson.loads(result.stdout))


def _peak_of_this_process(method: str, source: str, folder: str) -> None:
    """What `_peak_megabytes` runs."""
    for _ in range(FEW):
        _METHODS[method](Path(source), Path(folder))
    # Not getrusage: on Linux its peak starts with that of the process that started this one.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(int(status["VmHWM"].split(maxsplit=1)[0]) / 1024)


def _measured(megapixels: str, folder: Path) -> list[tuple[str, ...]]:
    """The rows of one size of photograph."""
    source = folder / f"{megapixels}.jpg"
    source.write_bytes(encoded(photograph(*SIZES[megapixels]), "JPEG", quality=90, exif=camera_exif()))
    references = _references(source)
    methods = {
        BOUNDS[0]: lambda source, folder: _bound(source, folder, references, progressive=False),
        BOUNDS[1]: lambda source, folder: _bound(source, folder, references, progressive=True),
        **_METHODS,
    }
    times: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(ROUNDS + 1):
        for name, method in methods.items():
            start = time.process_time()
            method(source, folder)
            times[name].append(time.process_time() - start)
    seconds = {name: median(each[1:]) for name, each in times.items()}
    rows: list[tuple[str, ...]] = []
    for name, method in methods.items():
        method(source, folder)
        quality = _quality(folder, references)
        each, peak = seconds[name], f"{_peak_megabytes(name, source, folder):.0f} MB" if name in _METHODS else "-"
        ratios = [f"{each / seconds[bound]:.2f}" for bound in BOUNDS]
        rows.append((f"{megapixels} MP: {name}", f"{each * 1000:.0f}", f"{1 / each:.1f}", " / ".join(ratios), peak, *quality))
    for name, peer in PEERS.items():
        try:
            taken = peer(source, folder, PRESETS, ROUNDS)
        except NotHere as missing:
            rows.append((f"{megapixels} MP: {name}", f"not measured: {missing}", *[""] * 5))
            continue
        ratios = [f"{taken.seconds / seconds[bound]:.2f}" for bound in BOUNDS]
        each = taken.seconds
        figures = f"{each * 1000:.0f}", f"{1 / each:.1f}", " / ".join(ratios), f"{taken.peak:.0f} MB"
        rows.append((f"{megapixels} MP: {name}", *figures, *_quality(folder, references)))
    return rows


def measure() -> Figures:
    """Run the methods in turn, and time the processor."""
    os.environ["VIPS_CONCURRENCY"] = "1"
    with tempfile.TemporaryDirectory(prefix="trenza-bench-") as folder:
        rows = [row for megapixels in SIZES for row in _measured(megapixels, Path(folder))]
    return Figures(
        title="Four renditions of a JPEG",
        how=f"2048, 1280 and 640 inside, 320 cover; progressive 4:2:0. Processor time, the median of {ROUNDS} interleaved rounds "
        "after a warm-up; a bound is one decode and four encodes by Pillow with nothing between (baseline / progressive: the "
        f"ratios to both). Memory: the peak of a fresh process that did {FEW}. PSNR (dB) and SSIM of the luma against Lanczos "
        "in floating point, largest version first; those of a bound are what JPEG coding costs. sharp and Thumbor follow the "
        "interleaved rounds, in processes of their own; Thumbor's figure is its server's, of four requests.",
        columns=("method", "ms each", "images/s per core", "x bound", "peak memory", "PSNR", "SSIM"),
        rows=tuple(rows),
    )


if __name__ == "__main__":
    _peak_of_this_process(*sys.argv[1:])
