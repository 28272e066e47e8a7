"""The code tables of our progressive JPEGs: made once from photographs, with a code for every symbol that any image may need.

libjpeg would make tables for each image, for which it codes everything twice. These cost 1 to 3 % of the bytes of a photograph.
`bench/training/huffman.py` made them, and says from what.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["AC_COLOUR", "AC_LUMA", "AC_SYMBOLS", "DC_COLOUR", "DC_LUMA", "DC_SYMBOLS", "CodeTable"]

DC_SYMBOLS: Final = tuple(range(12))
"""The sizes in bits of a difference of two means, of eight-bit samples (ITU-T T.81, F.1.2.1)."""
AC_SYMBOLS: Final = (
    *(run << 4 | size for run in range(16) for size in range(1, 11)),
    *(run << 4 for run in range(16)),
)
"""Up to 15 zeros before a value of 1 to 10 bits; ends of 1 to 32767 blocks by their 15 sizes; 16 zeros (T.81, G.1.2.2)."""


class CodeTable(NamedTuple):
    """A Huffman table as a file holds it: how many codes there are of 1 to 16 bits, and their symbols from short to long."""

    lengths: tuple[int, ...]
    symbols: bytes


DC_LUMA: Final = CodeTable(
    (0, 0, 7, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0),
    bytes.fromhex("030402050100060708090b0a"),
)
DC_COLOUR: Final = CodeTable(
    (0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0),
    bytes.fromhex("0001020304050607080b0a09"),
)
AC_LUMA: Final = CodeTable(
    (0, 2, 1, 3, 3, 2, 4, 2, 6, 5, 6, 4, 5, 4, 6, 123),
    bytes.fromhex(
        "010203001104210512314151061361227132108114079142a123b152c120d1156233f0e172240830431682f153923425"
        "a2b2634073c244d217933583265054366474b3e245a3098455f22718c3d375370a191a28292a38393a464748494a5657"
        "58595a6065666768696a70767778797a8085868788898a909495969798999aa0a4a5a6a7a8a9aab0b4b5b6b7b8b9bac0"
        "c4c5c6c7c8c9cad0d4d5d6d7d8d9dae0e3e4e5e6e7e8e9eaf3f4f5f6f7f8f9fa"
    ),
)
AC_COLOUR: Final = CodeTable(
    (0, 2, 2, 1, 3, 2, 3, 5, 4, 6, 6, 2, 2, 1, 2, 135),
    bytes.fromhex(
        "0100021103213112100441205113220561323071f08191a114b1c1d1424023e1063352f1155024436272078234a29260"
        "53b216e2c24470d2172508090a18191a262728292a35363738393a45464748494a5455565758595a636465666768696a"
        "737475767778797a80838485868788898a90939495969798999aa0a3a4a5a6a7a8a9aab0b3b4b5b6b7b8b9bac0c3c4c5"
        "c6c7c8c9cad0d3d4d5d6d7d8d9dae0e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9fa"
    ),
)
