"""What a service offers to others: operations, values, messages and errors, free of any framework."""

from trenza.chassis.contract.contracts import Contract
from trenza.chassis.contract.errors import PROBLEM_MEMBERS, CallFailed, ContractError
from trenza.chassis.contract.messages import Event, Message, Task
from trenza.chassis.contract.operations import DEFAULT_CALL_TIMEOUT, Operation, operation
from trenza.chassis.contract.values import Value

__all__ = [
    "DEFAULT_CALL_TIMEOUT",
    "PROBLEM_MEMBERS",
    "CallFailed",
    "Contract",
    "ContractError",
    "Event",
    "Message",
    "Operation",
    "Task",
    "Value",
    "operation",
]
