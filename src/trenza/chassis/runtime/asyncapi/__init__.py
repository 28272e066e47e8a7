"""The messages of a deployment as an AsyncAPI document, and what changes between two of them break."""

from trenza.chassis.runtime.asyncapi.changes import Changes, NoDocument, changes_between
from trenza.chassis.runtime.asyncapi.document import describe_messages

__all__ = ["Changes", "NoDocument", "changes_between", "describe_messages"]
