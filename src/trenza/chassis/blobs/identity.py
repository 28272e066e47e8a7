"""What tells one object store from every other: a UUID in an object of its own, which travels with the others."""

from __future__ import annotations

from uuid import UUID

from trenza.chassis.settings import CannotStart

__all__ = ["MARKER", "UnreadableIdentity", "as_marker", "read_marker"]

MARKER = "trenza-store.txt"
"""The key of that object. No service has a dot in its name, and shells copy the file with the folder's others."""


class UnreadableIdentity(CannotStart):
    """The object that should hold the store's identity holds something else."""

    def __init__(self) -> None:
        super().__init__(
            f"{MARKER} in the object store holds no UUID: put the right one back, "
            "or remove it and let `trenza objects adopt` make another"
        )


def as_marker(identity: UUID) -> bytes:
    """What the object holds: the UUID, in a line of text."""
    return f"{identity}\n".encode()


def read_marker(content: bytes) -> UUID:
    """The identity that the object holds. Raises `UnreadableIdentity`."""
    try:
        return UUID(content.decode("ascii").strip())
    except ValueError:
        raise UnreadableIdentity from None
