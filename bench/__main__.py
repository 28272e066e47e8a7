"""``python -m bench [NAME…] [--write]``: runs the benchmarks of this folder and prints a table of each."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

from bench.tables import document, machine, show

_FOLDER = Path(__file__).parent
_PAGE = _FOLDER.parent / "docs" / "benchmarks.md"
_NO_BENCHMARKS = {"__init__", "__main__", "peers", "quality", "tables", "waiting"}


def main() -> int:
    """Run what was asked for, or everything."""
    names = sorted({path.stem for path in _FOLDER.glob("*.py")} - _NO_BENCHMARKS)
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure, and print a table of each benchmark.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"what to run: {', '.join(names)} (default: all)")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/benchmarks.md, with machine and date")
    options = parser.parse_args()
    if unknown := set(options.names) - set(names):
        parser.error(f"there is no benchmark {min(unknown)!r}; there are {', '.join(names)}")
    print(f"{machine()}\n")
    results = []
    for name in options.names or names:
        print(f"measuring {name} …", file=sys.stderr)
        figures = import_module(f"bench.{name}").measure()
        show(figures)
        results.append(figures)
    if options.write:
        _PAGE.write_text(document(results, _PAGE.read_text() if _PAGE.exists() else ""))
        print(f"wrote {_PAGE.relative_to(_FOLDER.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
