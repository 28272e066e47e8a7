"""``python -m bench.training.huffman FOLDER``: makes the code tables of ``planes/tables.py`` from the photographs in a folder.

The tables in use came from the colour photographs that scikit-image and scikit-learn ship (astronaut, chelsea, coffee,
motorcycle, rocket, china, flower), at the sizes and qualities below.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from PIL import Image

from trenza.services.images.planes.libjpeg import LibJpeg
from trenza.services.images.planes.samples import Samples, samples_of
from trenza.services.images.planes.tables import AC_SYMBOLS, DC_SYMBOLS

SIDES: Final = (320, 640, 1280)
"""Pixels of the longer side. The samples are small photographs: larger ones come out smooth, as those of a camera are."""
QUALITIES: Final = (65, 72, 75, 82, 88)
_LONGEST: Final = 16
"""Bits of a code at most (T.81, annex C)."""
_PER_LINE: Final = 96


def main() -> None:
    """Count what the photographs need, and print the tables."""
    counts = {"DC luma": Counter[int](), "DC colour": Counter[int](), "AC luma": Counter[int](), "AC colour": Counter[int]()}
    codec = LibJpeg(sys.exit)
    for path in sorted(Path(sys.argv[1]).iterdir()):
        for planes, width, height in _pictures(path):
            for quality in QUALITIES:
                found = _symbols(codec.encode(planes, width, height, quality))
                # Each file counts the same, whatever its size.
                for name, symbols in found.items():
                    for symbol, count in symbols.items():
                        counts[name][symbol] += round(1_000_000 * count / symbols.total())
    for name, symbols in counts.items():
        lengths = _code_lengths(symbols, DC_SYMBOLS if name.startswith("DC") else AC_SYMBOLS)
        order: list[int] = sorted(lengths, key=lambda symbol: (lengths[symbol], -symbols[symbol], symbol))
        ordered = bytes(order).hex()
        per_length = tuple(sum(length == at for length in lengths.values()) for at in range(1, _LONGEST + 1))
        print(f"{name.upper().replace(' ', '_')}: Final = CodeTable(\n    {per_length},\n    bytes.fromhex(")
        for at in range(0, len(ordered), _PER_LINE):
            print(f'        "{ordered[at : at + _PER_LINE]}"')
        print("    ),\n)")


def _pictures(path: Path) -> Iterator[tuple[list[Samples], int, int]]:
    """A photograph at each size, as padded planes."""
    whole = Image.open(path).convert("YCbCr")
    for side in SIDES:
        share = side / max(whole.size)
        # Multiples of 16 need no padding.
        width, height = (max(16, round(edge * share) // 16 * 16) for edge in whole.size)
        luma, *colours = whole.resize((width, height), Image.Resampling.LANCZOS).split()
        halves = [part.resize((width // 2, height // 2), Image.Resampling.BOX) for part in colours]
        yield [samples_of(part) for part in (luma, *halves)], width, height


def _symbols(file: bytes) -> dict[str, Counter[int]]:
    """How often each symbol stands in a file of our encoder: one scan of means (six blocks a unit, two colour), then planes."""
    tables: dict[int, dict[tuple[int, int], int]] = {}
    found = {name: Counter[int]() for name in ("DC luma", "DC colour", "AC luma", "AC colour")}
    at = 2
    while file[at + 1] != 0xD9:  # noqa: PLR2004 - EOI
        marker, length = file[at + 1], int.from_bytes(file[at + 2 : at + 4], "big")
        segment = file[at + 4 : at + 2 + length]
        at += 2 + length
        if marker == 0xC4:  # noqa: PLR2004 - DHT
            tables |= _read_tables(segment)
        if marker == 0xDA:  # noqa: PLR2004 - SOS
            end = at
            while file[end] != 0xFF or file[end + 1] == 0:  # noqa: PLR2004 - a marker, not a stuffed byte
                end += 1
            bits = _Bits(file[at:end].replace(b"\xff\0", b"\xff"))
            at = end
            if segment[0] > 1:
                while bits.left():
                    for block in range(6):
                        symbol = bits.symbol(tables[segment[2 + 2 * max(0, block - 3)] >> 4])
                        found["DC colour" if block > 3 else "DC luma"][symbol] += 1  # noqa: PLR2004 - after four of luma
                        bits.skip(symbol)
            else:
                name = "AC luma" if segment[1] == 1 else "AC colour"
                while bits.left():
                    symbol = bits.symbol(tables[0x10 | (segment[2] & 15)])
                    found[name][symbol] += 1
                    # Ends of blocks carry as many bits as their run has; others as their value has.
                    bits.skip(symbol & 15 or (0 if symbol == 0xF0 else symbol >> 4))  # noqa: PLR2004 - sixteen zeros
    return found


def _read_tables(segment: bytes) -> dict[int, dict[tuple[int, int], int]]:
    """The symbol of each code (length, value), by class and number of the table."""
    tables, at = dict[int, dict[tuple[int, int], int]](), 0
    while at < len(segment):
        head, counts, at = segment[at], segment[at + 1 : at + 17], at + 17
        table, code = dict[tuple[int, int], int](), 0
        for length, many in enumerate(counts, 1):
            for _ in range(many):
                table[length, code] = segment[at]
                code, at = code + 1, at + 1
            code <<= 1
        tables[head] = table
    return tables


class _Bits:
    """The bits of a scan, read once."""

    def __init__(self, data: bytes) -> None:
        self._text = bin(int.from_bytes(b"\1" + data, "big"))[3:]
        self._at = 0

    def left(self) -> bool:
        """Whether there is more than the ones that fill the last byte."""
        return len(self._text) - self._at >= 8 or "0" in self._text[self._at :]  # noqa: PLR2004 - bits of a byte

    def skip(self, count: int) -> None:
        self._at += count

    def symbol(self, table: dict[tuple[int, int], int]) -> int:
        for length in range(1, _LONGEST + 1):
            symbol = table.get((length, int(self._text[self._at : self._at + length], 2)))
            if symbol is not None:
                self._at += length
                return symbol
        raise ValueError("no such code")


def _code_lengths(counts: Counter[int], symbols: Sequence[int]) -> dict[int, int]:
    """The best lengths of up to 16 bits (package-merge), with a code for every symbol and none of ones only."""
    # One more, rarer than any other, takes the code of ones only, which T.81 forbids.
    leaves = sorted([(max(1, counts[symbol]), (symbol,)) for symbol in symbols] + [(0, (-1,))])
    packages: list[tuple[int, tuple[int, ...]]] = []
    for _ in range(_LONGEST):
        pairs = zip(packages[::2], packages[1::2], strict=False)
        packages = sorted([*leaves, *((one[0] + other[0], one[1] + other[1]) for one, other in pairs)])
    lengths = Counter(symbol for _, inside in packages[: 2 * len(leaves) - 2] for symbol in inside)
    longest = max(lengths.values())
    if lengths[-1] < longest:
        raise ValueError("the code of ones only is taken")
    del lengths[-1]
    return dict(lengths)


if __name__ == "__main__":
    main()
