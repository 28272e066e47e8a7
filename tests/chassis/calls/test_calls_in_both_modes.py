"""What a caller of a contract sees: the same in one process and over the wire."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from trenza.chassis.context import Context, Principal, current_context, use_context
from trenza.chassis.contract import CallFailed, Contract, ContractError, Value, operation
from trenza.chassis.data import Database, NestedUnitOfWork
from trenza.chassis.testing import CallMode, bind, call_modes

ANA = Principal(subject="ana", scopes=("payments:manager", "photos:viewer"))
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Money(Value):
    amount: Decimal
    currency: str = "EUR"


class Hold(Value):
    id: UUID
    work_id: UUID
    amount: Money
    notes: tuple[str, ...] = ()


class CardDeclined(ContractError):
    status = 402


class CardExpired(CardDeclined):
    """Nobody declares it: callers know `CardDeclined` only."""


class Payments(Contract, service="payments"):
    @operation(idempotent=True, errors=(CardDeclined,))
    @abstractmethod
    async def place_hold(self, *, work_id: UUID, amount: Money, notes: tuple[str, ...] = ("none",)) -> Hold: ...

    @operation()
    @abstractmethod
    async def release(self, *, hold_id: UUID) -> None: ...

    @operation(idempotent=True, timeout=0.05)
    @abstractmethod
    async def wait_for_the_bank(self) -> None: ...

    @operation(idempotent=True)
    @abstractmethod
    async def who_asks(self) -> tuple[str, str, tuple[str, ...], str | None, str | None]: ...

    @operation()
    @abstractmethod
    async def time_left(self) -> float | None: ...

    @operation()
    @abstractmethod
    async def copy(self, *, json: bytes, self_check: float = 0.0) -> bytes: ...


class Bank(Payments):
    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.holds: dict[UUID, Hold] = {}
        self.released: list[UUID] = []
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def place_hold(self, *, work_id: UUID, amount: Money, notes: tuple[str, ...] = ("from the implementation",)) -> Hold:
        await asyncio.sleep(0)
        if self.failure:
            raise self.failure
        return self.holds.setdefault(work_id, Hold(id=uuid4(), work_id=work_id, amount=amount, notes=notes))

    async def release(self, *, hold_id: UUID) -> None:
        self.released.append(hold_id)

    async def wait_for_the_bank(self) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def who_asks(self) -> tuple[str, str, tuple[str, ...], str | None, str | None]:
        context = current_context()
        principal = context.principal
        return principal.subject, context.correlation_id, principal.scopes, context.traceparent, context.service

    async def time_left(self) -> float | None:
        return current_context().remaining()

    async def copy(self, *, json: bytes, self_check: float = 0.0) -> bytes:
        assert self_check == float("inf")
        return json


EURO = Money(amount=Decimal("12.50"))
LogLines = Callable[[], list[dict[str, Any]]]


@call_modes
async def test_a_result_is_the_value_that_the_service_made(call_mode: CallMode) -> None:
    bank, work_id = Bank(), uuid4()
    async with bind(Payments, bank, call_mode) as payments:
        assert isinstance(payments, Payments)
        hold = await payments.place_hold(work_id=work_id, amount=EURO, notes=("urgent", "äöü €"))
        assert hold == bank.holds[work_id]
        assert hold.notes == ("urgent", "äöü €")


@call_modes
async def test_parameters_left_out_have_the_defaults_of_the_contract(call_mode: CallMode) -> None:
    async with bind(Payments, Bank(), call_mode) as payments:
        assert (await payments.place_hold(work_id=uuid4(), amount=EURO)).notes == ("none",)


@call_modes
async def test_what_is_not_idempotent_runs_once(call_mode: CallMode) -> None:
    bank, hold_id = Bank(), uuid4()
    async with bind(Payments, bank, call_mode) as payments:
        await payments.release(hold_id=hold_id)
    assert bank.released == [hold_id]


@call_modes
async def test_operations_and_parameters_may_have_any_name_and_bytes_any_value(call_mode: CallMode) -> None:
    async with bind(Payments, Bank(), call_mode) as payments:
        assert await payments.copy(json=b"\x00\xff{", self_check=float("inf")) == b"\x00\xff{"


@call_modes
async def test_a_declared_error_keeps_type_detail_and_fields(call_mode: CallMode) -> None:
    bank = Bank()
    bank.failure = CardDeclined("The card was declined.", limit=3, tried=[1, {"a": None}], scope="cards")
    async with bind(Payments, bank, call_mode) as payments:
        with pytest.raises(CardDeclined) as caught:
            await payments.place_hold(work_id=uuid4(), amount=EURO)
    assert type(caught.value) is CardDeclined
    assert caught.value.detail == "The card was declined."
    assert caught.value.fields == {"limit": 3, "tried": [1, {"a": None}], "scope": "cards"}


@call_modes
@pytest.mark.parametrize(
    "failure",
    [
        ValueError("secret of the bank"),
        TimeoutError("secret of the bank"),
        CardExpired("secret of the bank"),
        CallFailed("bank", "ask", "secret"),
    ],
)
async def test_everything_else_is_a_failed_call_that_tells_nothing(call_mode: CallMode, failure: Exception) -> None:
    bank = Bank()
    bank.failure = failure
    async with bind(Payments, bank, call_mode) as payments:
        with pytest.raises(CallFailed) as caught:
            await payments.place_hold(work_id=uuid4(), amount=EURO)
    assert (caught.value.service, caught.value.operation_name, caught.value.ran) == ("payments", "place_hold", None)
    assert caught.value.reason == "it broke; its log tells why, under the same correlation id"
    assert "secret" not in str(caught.value)


@call_modes
async def test_what_broke_is_logged_once_with_the_correlation_id(call_mode: CallMode, log_lines: LogLines) -> None:
    bank = Bank()
    bank.failure = ValueError("the ledger is on fire")
    with use_context(Context(correlation_id="c-1")):
        async with bind(Payments, bank, call_mode) as payments:
            with pytest.raises(CallFailed):
                await payments.place_hold(work_id=uuid4(), amount=EURO)
    traces = [line for line in log_lines() if "the ledger is on fire" in line.get("exception", "")]
    assert [(line["level"], line["correlation_id"], line["callee"], line["operation"]) for line in traces] == [
        ("error", "c-1", "payments", "place_hold")
    ]


@call_modes
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"work_id": UUID(int=1)}, r"Payments.place_hold\(\) needs 'amount'"),
        ({"work_id": UUID(int=1), "amount": EURO, "tip": 1}, r"Payments.place_hold\(\) takes no 'tip'"),
        ({"work": UUID(int=1), "amount": EURO}, r"Payments.place_hold\(\) takes no 'work', needs 'work_id'"),
    ],
)
async def test_wrong_names_are_type_errors_and_nothing_runs(
    call_mode: CallMode, arguments: dict[str, Any], sentence: str
) -> None:
    bank = Bank()
    async with bind(Payments, bank, call_mode) as payments:
        with pytest.raises(TypeError, match=sentence):
            await payments.place_hold(**arguments)
        with pytest.raises(TypeError, match="positional"):
            await payments.release(uuid4())  # type: ignore[call-arg]  # what the test is about
    assert not bank.holds


@call_modes
async def test_a_call_inside_an_open_unit_of_work_is_refused(call_mode: CallMode, sqlite_url: str) -> None:
    bank, database = Bank(), Database(sqlite_url, schema="test")
    async with bind(Payments, bank, call_mode) as payments:
        async with database.work():
            with pytest.raises(NestedUnitOfWork, match=r"cannot call payments.release while a unit of work is open"):
                await payments.release(hold_id=uuid4())
        await payments.release(hold_id=uuid4())
    await database.close()
    assert len(bank.released) == 1


@call_modes
async def test_the_callers_identity_correlation_and_trace_travel(call_mode: CallMode) -> None:
    async with bind(Payments, Bank(), call_mode) as payments:
        with use_context(Context(correlation_id="c-7", principal=ANA, traceparent=TRACE)) as context:
            assert await payments.who_asks() == ("ana", "c-7", ANA.scopes, TRACE, "payments")
            assert current_context() is context


@call_modes
async def test_calls_at_the_same_time_keep_their_contexts_apart(call_mode: CallMode) -> None:
    async with bind(Payments, Bank(), call_mode) as payments:

        async def ask(name: str) -> str:
            with use_context(Context(correlation_id=name, principal=Principal(subject=name))):
                return (await payments.who_asks())[0]

        names = [f"user-{number}" for number in range(20)]
        assert await asyncio.gather(*map(ask, names)) == names


@call_modes
async def test_the_deadline_is_the_nearer_one_of_caller_and_operation(call_mode: CallMode) -> None:
    async with bind(Payments, Bank(), call_mode) as payments:
        alone = await payments.time_left()
        with use_context(Context(correlation_id="c").with_deadline_in(5)):
            hurried = await payments.time_left()
        with use_context(Context(correlation_id="c").with_deadline_in(500)):
            patient = await payments.time_left()
    assert alone is not None
    assert hurried is not None
    assert patient is not None
    assert 29 < alone <= 30
    assert 4 < hurried <= 5
    assert 29 < patient <= 30


@call_modes
async def test_after_the_deadline_nothing_starts(call_mode: CallMode) -> None:
    bank = Bank()
    async with bind(Payments, bank, call_mode) as payments:
        with use_context(Context(correlation_id="c").with_deadline_in(-1)), pytest.raises(CallFailed) as caught:
            await payments.release(hold_id=uuid4())
    assert caught.value.ran is False
    assert caught.value.reason == "the deadline had passed before it started"
    assert not bank.released


@call_modes
async def test_a_call_that_takes_too_long_fails_and_is_cancelled(call_mode: CallMode) -> None:
    bank = Bank()
    async with bind(Payments, bank, call_mode) as payments:
        with pytest.raises(CallFailed) as caught:
            await payments.wait_for_the_bank()
        assert (caught.value.reason, caught.value.ran) == ("it did not answer in time", None)
        await asyncio.wait_for(bank.cancelled.wait(), 5)


@call_modes
async def test_a_cancelled_caller_cancels_the_call_and_stays_cancelled(call_mode: CallMode) -> None:
    bank = Bank()
    async with bind(Payments, bank, call_mode) as payments:
        with use_context(Context(correlation_id="c").with_deadline_in(30)):
            caller = asyncio.create_task(payments.wait_for_the_bank())
        await bank.started.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await asyncio.wait_for(bank.cancelled.wait(), 5)


class Deals(Contract, service="deals"):
    @operation(idempotent=True, errors=(CardDeclined,))
    @abstractmethod
    async def accept(self, *, work_id: UUID) -> Hold: ...


class Office(Deals):
    """A service that needs another one."""

    def __init__(self, payments: Payments) -> None:
        self._payments = payments

    async def accept(self, *, work_id: UUID) -> Hold:
        return await self._payments.place_hold(work_id=work_id, amount=EURO)


@call_modes
async def test_services_call_on(call_mode: CallMode) -> None:
    work_id = uuid4()
    async with bind(Payments, Bank(), call_mode) as payments, bind(Deals, Office(payments), call_mode) as deals:
        assert (await deals.accept(work_id=work_id)).work_id == work_id


@call_modes
async def test_a_failure_two_services_away_is_a_failure_of_the_one_that_was_called(
    call_mode: CallMode, log_lines: LogLines
) -> None:
    bank = Bank()
    bank.failure = ValueError("the ledger is on fire")
    async with bind(Payments, bank, call_mode) as payments, bind(Deals, Office(payments), call_mode) as deals:
        with pytest.raises(CallFailed) as caught:
            await deals.accept(work_id=uuid4())
    assert caught.value.service == "deals"
    assert [line["callee"] for line in log_lines() if line["level"] == "error"] == ["payments"]


@call_modes
async def test_an_error_that_both_services_declare_passes_both(call_mode: CallMode) -> None:
    bank = Bank()
    bank.failure = CardDeclined("No.", limit=3)
    async with bind(Payments, bank, call_mode) as payments, bind(Deals, Office(payments), call_mode) as deals:
        with pytest.raises(CardDeclined, match=r"No\."):
            await deals.accept(work_id=uuid4())
