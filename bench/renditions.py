"""Four renditions of photographs of 12 and 24 megapixels: our paths, the service over HTTP, its peers, the bounds."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple, Protocol

import numpy as np
import orjson
from bench.quality import luma, psnr, ssim
from bench.renderers.children import PRESETS, Renderer, Thumbor, megabytes_of, sharp, simplejpeg
from bench.renderers.service import Service
from bench.tables import Figures
from PIL import Image, ImageOps

from trenza.chassis.testing.pictures import camera_exif, encoded, photograph
from trenza.services.images.jobs import JobOutput, RenderJob
from trenza.services.images.planes.libjpeg import LibJpeg
from trenza.services.images.planes.renderer import PlaneRenderer

ROUNDS = 7
SIZES: Final = {"12": (4000, 3000), "24": (6000, 4000)}
"""Megapixels, and the sides that make them."""
FEW = 5

_planes = PlaneRenderer(LibJpeg(sys.exit))


def _job(source: Path, folder: Path, *, fast: bool, progressive: bool = True) -> RenderJob:
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
                progressive=progressive,
            )
            for name, box, fit, quality in PRESETS
        ],
    )


def _ours(source: Path, folder: Path, *, fast: bool, progressive: bool = True) -> None:
    """What a worker process does."""
    from trenza.services.images.rendering import render  # noqa: PLC0415 - libvips reads its settings when it loads

    answer = render(_job(source, folder, fast=fast, progressive=progressive), _planes.render)
    assert answer["kind"] == "rendered", answer
    assert answer["path"] == ("planes" if fast else "libvips")


def _over_planes(source: Path, folder: Path) -> None:
    _ours(source, folder, fast=True)


def _over_planes_baseline(source: Path, folder: Path) -> None:
    _ours(source, folder, fast=True, progressive=False)


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
    "Trenza, planes, baseline files": _over_planes_baseline,
    "Trenza, libvips": _with_libvips,
    "Pillow, draft and chain": _pillow_chain,
    "Pillow as usually written": _pillow_as_usual,
}


def references(source: Path) -> list[Image.Image]:
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


def bound(source: Path, folder: Path, *, progressive: bool) -> float:
    """One decode and four encodes by Pillow, and nothing between them: the seconds."""
    versions = [Image.open(folder / f"{name}.png").convert("RGB") for name, *_ in PRESETS]
    began = time.process_time()
    Image.open(source).load()
    for (name, _, _, quality), version in zip(PRESETS, versions, strict=True):
        version.save(folder / f"{name}.jpg", "JPEG", quality=quality, progressive=progressive)
    return time.process_time() - began


def _peak_megabytes(method: str, source: Path, folder: Path) -> float:
    """The peak of a fresh process that does it a few times."""
    command = [sys.executable, "-m", "bench.renditions", method, str(source), str(folder)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - our own program
    return float(orjson.loads(result.stdout))


def _peak_of_this_process(method: str, source: str, folder: str) -> None:
    """What `_peak_megabytes` runs."""
    for _ in range(FEW):
        _METHODS[method](Path(source), Path(folder))
    print(megabytes_of(os.getpid()))


class _Method(NamedTuple):
    """A row: how to do it once, which gives the seconds of processor time, and how to learn the peak of memory."""

    name: str
    render: Callable[[Path, Path], float]
    megabytes: Callable[[], float] | None


class _Outside(Renderer, Protocol):
    def megabytes(self) -> float:
        """The peak of memory until now."""


class _Peer(NamedTuple):
    """A renderer outside of this process, and its rows: how it is asked, by their names."""

    start: Callable[[], AbstractContextManager[_Outside]]
    rows: dict[str, str]


_BASELINE: Final = ("bound, baseline: Pillow", "bound, baseline: simplejpeg")
_PROGRESSIVE: Final = ("bound, progressive: Pillow", "bound, progressive: simplejpeg and Pillow")


def _inside(name: str, method: Callable[[Path, Path], None], source: Path, folder: Path) -> _Method:
    def render(source: Path, folder: Path) -> float:
        began = time.process_time()
        method(source, folder)
        return time.process_time() - began

    return _Method(name, render, lambda: _peak_megabytes(name, source, folder))


def _outside(name: str, how: str, renderer: _Outside) -> _Method:
    return _Method(name, lambda source, folder: renderer.render(how, source, folder), renderer.megabytes)


@contextmanager
def _methods(source: Path, folder: Path) -> Iterator[tuple[list[_Method], dict[str, str]]]:
    """Everything that can run here, and by name why the rest cannot. Who keeps a process has one for each of its rows."""
    peers = (
        _Peer(simplejpeg, {_BASELINE[1]: "baseline", _PROGRESSIVE[1]: "progressive"}),
        _Peer(sharp, {"sharp, a clone for each version": "clone"}),
        _Peer(sharp, {"sharp, from the largest version": "chain"}),
        _Peer(lambda: Thumbor.running(folder), {"Thumbor over HTTP, four requests": ""}),
        _Peer(lambda: Service.running(folder), {"Trenza over HTTP, upload to completed": ""}),
    )
    methods = [
        _Method(name, partial(bound, progressive=progressive), None)
        for name, progressive in ((_BASELINE[0], False), (_PROGRESSIVE[0], True))
    ]
    methods += [_inside(name, method, source, folder) for name, method in _METHODS.items()]
    missing = dict[str, str]()
    with ExitStack() as stack:
        for peer in peers:
            try:
                renderer = stack.enter_context(peer.start())
            except FileNotFoundError as error:
                missing |= dict.fromkeys(peer.rows, str(error))
            except subprocess.CalledProcessError as error:
                missing |= dict.fromkeys(peer.rows, f"could not be installed ({error.cmd[0]} ended with {error.returncode})")
            else:
                methods += [_outside(name, how, renderer) for name, how in peer.rows.items()]
        yield sorted(methods, key=lambda method: not method.name.startswith("bound")), missing


def _measured(megapixels: str, folder: Path) -> list[tuple[str, ...]]:
    """The rows of one size of photograph."""
    folder.mkdir()
    source = folder / f"{megapixels}.jpg"
    source.write_bytes(encoded(photograph(*SIZES[megapixels]), "JPEG", quality=90, exif=camera_exif()))
    best = references(source)
    for (name, *_), reference in zip(PRESETS, best, strict=True):
        reference.save(folder / f"{name}.png", compress_level=1)
    with _methods(source, folder) as (methods, missing):
        times: dict[str, list[float]] = {method.name: [] for method in methods}
        quality = dict[str, tuple[str, str]]()
        for turn in range(ROUNDS + 1):
            for method in methods:
                times[method.name].append(method.render(source, folder))
                if turn == 0:
                    quality[method.name] = _quality(folder, best)
        seconds = {name: median(each[1:]) for name, each in times.items()}
        bounds = [min(seconds[name] for name in names if name in seconds) for names in (_BASELINE, _PROGRESSIVE)]
        rows: list[tuple[str, ...]] = []
        for name, _, megabytes in methods:
            each, peak = seconds[name], "-" if megabytes is None or name.startswith("bound") else f"{megabytes():.0f} MB"
            ratios = " / ".join(f"{each / least:.2f}" for least in bounds)
            rows.append((f"{megapixels} MP: {name}", f"{each * 1000:.0f}", f"{1 / each:.1f}", ratios, peak, *quality[name]))
    rows += [(f"{megapixels} MP: {name}", f"not measured: {why}", *"-----") for name, why in missing.items()]
    return rows


def measure() -> Figures:
    """Run the methods in turn, and time the processor."""
    os.environ["VIPS_CONCURRENCY"] = "1"
    with tempfile.TemporaryDirectory(prefix="trenza-bench-") as folder:
        rows = [row for megapixels in SIZES for row in _measured(megapixels, Path(folder) / megapixels)]
    return Figures(
        title="Four renditions of a JPEG",
        how=f"2048, 1280 and 640 inside, 320 cover; progressive 4:2:0. Processor time, the median of {ROUNDS} interleaved rounds "
        "after a warm-up; over HTTP, that of all processes of the server. A bound is one decode to RGB and four encodes with "
        "nothing between; the ratios are to the smaller of each two (baseline / progressive). sharp: one thread, no cache. "
        f"Thumbor: files, no storage. Memory: the peak of a fresh process that did {FEW}; of a peer, of its process after all "
        "rounds; of the service, of all its processes. PSNR (dB) and SSIM of the luma against Lanczos in floating point, largest "
        "version first; those of a bound are what JPEG coding alone costs, and a thumbnail that is cut half a pixel aside "
        "loses much.",
        columns=("method", "ms each", "images/s per core", "x bound", "peak memory", "PSNR", "SSIM"),
        rows=tuple(rows),
    )


if __name__ == "__main__":
    _peak_of_this_process(*sys.argv[1:])
