"""Four renditions of a 12 megapixel photograph: this engine against Pillow as it is usually written."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import orjson
from bench.tables import Figures
from PIL import Image, ImageOps

from trenza.chassis.testing.pictures import camera_exif, encoded, photograph
from trenza.services.images.jobs import JobOutput, RenderJob

ROUNDS = 9
WIDTH, HEIGHT = 4000, 3000
PRESETS = (
    ("large", 2048, "inside", 82),
    ("medium", 1280, "inside", 72),
    ("small", 640, "inside", 75),
    ("thumbnail", 320, "cover", 75),
)
FEW = 5


def _job(source: Path, folder: Path) -> RenderJob:
    """The job of the four presets."""
    return RenderJob(
        source=str(source),
        format="jpeg",
        max_pixels=100_000_000,
        max_side=65_535,
        processor_seconds=60,
        fast=True,
        outputs=[
            JobOutput(path=str(folder / f"{name}.jpg"), width=box, height=box, fit=fit, media_type="image/jpeg", quality=quality)
            for name, box, fit, quality in PRESETS
        ],
    )


def _ours(source: Path, folder: Path) -> None:
    """What a worker process does."""
    from trenza.services.images.rendering import render  # noqa: PLC0415 - libvips reads its settings when it loads

    answer = render(_job(source, folder))
    assert answer["kind"] == "rendered", answer


def _pillow_as_usual(source: Path, folder: Path) -> None:
    """Open, turn upright, and make every version from the full image."""
    image = ImageOps.exif_transpose(Image.open(source)).convert("RGB")
    for name, box, fit, quality in PRESETS:
        version = image.copy()
        if fit == "cover":
            version = ImageOps.fit(version, (box, box), Image.Resampling.LANCZOS)
        else:
            version.thumbnail((box, box), Image.Resampling.LANCZOS)
        version.save(folder / f"{name}.jpg", "JPEG", quality=quality, progressive=True, optimize=True)


def _pillow_chain(source: Path, folder: Path) -> None:
    """Let the decoder scale first, and make each version from the next larger one."""
    image = Image.open(source)
    image.draft("RGB", (2048, 2048))
    version = ImageOps.exif_transpose(image).convert("RGB")
    for name, box, fit, quality in PRESETS:
        if fit == "cover":
            version = ImageOps.fit(version, (box, box), Image.Resampling.LANCZOS)
        else:
            version.thumbnail((box, box), Image.Resampling.LANCZOS)
        version.save(folder / f"{name}.jpg", "JPEG", quality=quality, progressive=True, optimize=True)


_METHODS: dict[str, Callable[[Path, Path], None]] = {
    "Trenza": _ours,
    "Pillow, draft and chain": _pillow_chain,
    "Pillow as usually written": _pillow_as_usual,
}


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


def measure() -> Figures:
    """Run the methods in turn, and time the processor."""
    os.environ["VIPS_CONCURRENCY"] = "1"
    times: dict[str, list[float]] = {name: [] for name in _METHODS}
    with tempfile.TemporaryDirectory(prefix="trenza-bench-") as folder:
        source = Path(folder) / "photo.jpg"
        source.write_bytes(encoded(photograph(WIDTH, HEIGHT), "JPEG", quality=90, exif=camera_exif()))
        for _ in range(ROUNDS + 1):
            for name, method in _METHODS.items():
                start = time.process_time()
                method(source, Path(folder))
                times[name].append(time.process_time() - start)
        peaks = {name: _peak_megabytes(name, source, Path(folder)) for name in _METHODS}
        size = source.stat().st_size
    seconds = {name: median(each[1:]) for name, each in times.items()}
    usual = seconds["Pillow as usually written"]
    return Figures(
        title="Four renditions of a 12 megapixel JPEG",
        how=f"{WIDTH} x {HEIGHT}, {size / 1e6:.1f} MB; 2048, 1280 and 640 inside, 320 cover; progressive 4:2:0. Processor time, "
        f"the median of {ROUNDS} interleaved rounds after a warm-up; memory: the peak of a fresh process that did {FEW}.",
        columns=("method", "ms each", "images/s per core", "times as fast", "peak memory"),
        rows=tuple(
            (name, f"{each * 1000:.0f}", f"{1 / each:.1f}", f"{usual / each:.1f}x", f"{peaks[name]:.0f} MB")
            for name, each in seconds.items()
        ),
    )


if __name__ == "__main__":
    _peak_of_this_process(*sys.argv[1:])
