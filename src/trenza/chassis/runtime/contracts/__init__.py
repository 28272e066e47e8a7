"""The operations that services call on each other as one document, and what changes between two of them break."""

from trenza.chassis.runtime.contracts.changes import changes_between_contracts
from trenza.chassis.runtime.contracts.document import describe_contracts

__all__ = ["changes_between_contracts", "describe_contracts"]
