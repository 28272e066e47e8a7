"""``python -m trenza``: the same as the ``trenza`` command."""

from trenza.cli import main

main()
