"""The bounds by simplejpeg: answers each line {"how", "source", "folder", "presets"} with {"seconds"} of processor time.

A bound is one decode and four encodes of versions that lie ready as pictures (``NAME.png`` in the folder), and nothing between.
simplejpeg writes baseline files only; Pillow writes the progressive ones.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image


def main() -> None:
    """Answer until the input ends."""
    versions: dict[Path, np.ndarray] = {}
    for line in sys.stdin:
        job = json.loads(line)
        folder = Path(job["folder"])
        for name, *_ in job["presets"]:
            if (path := folder / f"{name}.png") not in versions:
                versions[path] = np.asarray(Image.open(path).convert("RGB"))
        pictures = [(versions[folder / f"{name}.png"], folder / f"{name}.jpg", quality) for name, _, _, quality in job["presets"]]
        ready = [Image.fromarray(pixels) for pixels, _, _ in pictures]
        began = time.process_time()
        simplejpeg.decode_jpeg(Path(job["source"]).read_bytes(), "RGB")
        for (pixels, path, quality), picture in zip(pictures, ready, strict=True):
            if job["how"] == "progressive":
                picture.save(path, "JPEG", quality=quality, progressive=True)
            else:
                path.write_bytes(simplejpeg.encode_jpeg(pixels, quality, "RGB", "420", fastdct=False))
        print(json.dumps({"seconds": time.process_time() - began}), flush=True)


if __name__ == "__main__":
    main()
