"""The ``trenza`` command. Nothing heavy is imported before a command that needs it runs, so that ``--help`` is instant."""

from __future__ import annotations

import time

__all__ = ["STARTED", "main"]

STARTED = time.monotonic()
"""When this process began to import Trenza: `up` says how long it took from here until it answered."""


def main() -> None:
    """The entry point of the ``trenza`` script."""
    from trenza.cli.commands import app  # noqa: PLC0415 - importing trenza.cli costs nothing by itself

    app()
