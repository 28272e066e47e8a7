"""Fuzzes the header parsers with coverage for a time: ``python fuzz_headers.py SECONDS FOLDER``; what fails is kept in FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["trenza.services.images.headers"]):
    from trenza.services.images.headers import HeaderError, read_header
    from trenza.services.images.headers.jpeg import scans
    from trenza.services.images.headers.reading import Budget, drive

from trenza.chassis.testing.hostile_corpus import CORPUS

MOST_BYTES = 64 * 1024


def one_input(data: bytes) -> None:
    """A header or a declared refusal, within the budget; anything else ends the run."""

    def read(start: int, length: int) -> bytes:
        return data[start : start + length]

    budget = Budget()
    for attempt in (lambda: read_header(read, budget), lambda: drive(scans(100), read, Budget(bytes=3 * len(data) + 2**22))):
        try:
            attempt()
        except HeaderError:
            continue
    if budget.spent_reads > budget.reads + 1:
        raise AssertionError("the budget of reads does not bind")


def main(seconds: int, folder: Path) -> None:
    """Begin with the corpus of hostile pictures, as far as they are small, and with what earlier runs found."""
    seeds = folder / "seeds"
    seeds.mkdir(parents=True, exist_ok=True)
    for number, hostile in enumerate(CORPUS.values()):
        if len(data := hostile.make()) <= MOST_BYTES:
            (seeds / f"{number}").write_bytes(data)
    options = (f"-max_total_time={seconds}", f"-max_len={MOST_BYTES}", "-timeout=5", "-rss_limit_mb=1024")
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={folder}/", str(seeds)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
