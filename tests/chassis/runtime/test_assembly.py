from __future__ import annotations

import asyncio
import re
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import sqlalchemy as sa
from fastapi import APIRouter, FastAPI
from pydantic_settings import BaseSettings, SettingsConfigDict

from trenza import Check, Contract, Event, Resources, Schedule, Service, Task, handles, operation, reacts
from trenza.chassis.auth.permissions import Roles, public, requires
from trenza.chassis.auth.tokens import issue_token
from trenza.chassis.data import Database, DatabaseUnavailable
from trenza.chassis.http.provided import provided
from trenza.chassis.runtime.application import assemble
from trenza.chassis.runtime.databases import PendingMigrations, database_url, migrate
from trenza.chassis.runtime.signing import signing_key
from trenza.chassis.runtime.wiring import WiringError
from trenza.chassis.settings import InvalidSettings, PlatformSettings, UnsafeSettings


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="TRENZA_SENDER_", frozen=True)

    limit: int = 3

    def unsafe_for_production(self) -> tuple[str, ...]:
        return ("TRENZA_SENDER_LIMIT is a default: choose one",)


class Greeted(Event, type="sender.Greeted"):
    name: str


class Greet(Task, type="sender.Greet"):
    name: str


class Sender(Contract, service="sender", paths=("/sender",), events=(Greeted,)):
    @operation()
    @abstractmethod
    async def greet(self, *, name: str) -> None: ...


class Receiver(Contract, service="receiver", paths=("/receiver",)):
    @operation(idempotent=True)
    @abstractmethod
    async def greeting(self) -> str: ...


class ReceiverDesk(Receiver):
    def __init__(self, resources: Resources[Settings]) -> None:
        self.resources = resources
        self.received: asyncio.Queue[str] = asyncio.Queue()
        self.log: list[str] = []

    async def greeting(self) -> str:
        return "hello"

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        self.log.append("started")
        yield
        self.log.append("ended")


class SenderDesk(Sender):
    def __init__(self, resources: Resources[Settings]) -> None:
        self.resources = resources

    async def greet(self, *, name: str) -> None:
        word = await self.resources.call(Receiver).greeting()
        async with self.resources.database.work() as work:
            await work.enqueue(Greet(name=f"{word} {name}"))


@handles(Greet)
async def say(_sender: SenderDesk, task: Greet, delivery: Any) -> None:
    async with delivery.finish() as work:
        await work.publish(Greeted(name=task.name))


@reacts(Greeted)
async def hear(receiver: ReceiverDesk, event: Greeted, _delivery: Any) -> None:
    await receiver.received.put(event.name)


sending = APIRouter()
Sending = provided(SenderDesk)


@sending.post("/sender/{name}", dependencies=[requires("sender:editor")])
async def post_greeting(name: str, sender: SenderDesk = Sending) -> str:
    await sender.greet(name=name)
    return "accepted"


@sending.get("/sender", dependencies=[public("a greeting is for everybody")])
async def get_greeting() -> str:
    return "hello"


SENDER = Service(
    contract=Sender,
    implementation=SenderDesk,
    settings=Settings,
    roles=Roles("sender", ("admin", "editor")),
    uses=(Receiver,),
    router=sending,
    handlers=(say,),
)
RECEIVER = Service(
    contract=Receiver,
    implementation=ReceiverDesk,
    settings=Settings,
    handlers=(hear,),
    lifespan=ReceiverDesk.working,
)


@pytest.fixture
def settings(tmp_path: Path) -> PlatformSettings:
    return PlatformSettings(data_dir=tmp_path / "data")


@asynccontextmanager
async def client_of(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as client,
    ):
        yield client


@pytest.fixture(params=["sqlite", "postgres"])
def shared_url(request: pytest.FixtureRequest) -> str | None:
    """SQLite files in the data folder, or one PostgreSQL with a schema for each service."""
    if request.param == "sqlite":
        return None
    url: str = request.getfixturevalue("postgres_url")
    return url


async def test_services_call_each_other_and_exchange_messages(tmp_path: Path, shared_url: str | None) -> None:
    app = assemble((SENDER, RECEIVER), PlatformSettings(data_dir=tmp_path / "data", database_url=shared_url))
    implementations = app.state.implementations
    async with client_of(app):
        await implementations[SenderDesk].greet(name="world")
        assert await asyncio.wait_for(implementations[ReceiverDesk].received.get(), 20) == "hello world"
        assert implementations[ReceiverDesk].log == ["started"]
    assert implementations[ReceiverDesk].log == ["started", "ended"]
    assert (tmp_path / "data" / "db" / "sender.sqlite3").exists() is (shared_url is None)


async def test_readiness_is_false_before_the_start_and_after_the_drain_begins(settings: PlatformSettings) -> None:
    app = assemble((SENDER, RECEIVER), settings)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        assert (await client.get("/health/ready")).status_code == 503
        async with app.router.lifespan_context(app):
            assert (await client.get("/health/ready")).status_code == 200
            assert (await client.get("/sender")).json() == "hello"
            app.state.readiness.drain()
            assert (await client.get("/health/ready")).status_code == 503
            assert (await client.get("/health/live")).status_code == 200
            assert (await client.get("/sender")).json() == "hello"


async def test_the_routes_of_the_platform_are_there_and_guarded(settings: PlatformSettings) -> None:
    async with client_of(assemble((SENDER, RECEIVER), settings)) as client:
        assert (await client.post("/sender/x")).status_code == 401
        assert (await client.get("/nothing")).headers["content-type"] == "application/problem+json"
        assert "http_requests_total" in (await client.get("/metrics")).text
        assert "/sender/{name}" in (await client.get("/openapi.json")).json()["paths"]
        page = await client.get("/docs")
        assert page.status_code == 200
        assert "https://" not in page.text  # it works without the Internet
        assert "script-src 'sha256-" in page.headers["content-security-policy"]


async def test_nothing_is_made_of_the_host_header(settings: PlatformSettings) -> None:
    async with client_of(assemble((SENDER, RECEIVER), settings)) as client:
        for path in ("/docs/", "/health/", "/sender/"):
            answer = await client.get(path, headers={"Host": "evil.example"})
            assert answer.status_code in (404, 405)
            assert "location" not in answer.headers
            assert answer.headers["content-type"] == "application/problem+json"
        front = await client.get("/", headers={"Host": "evil.example"})
        assert (front.status_code, front.headers["location"]) == (307, "docs")
        assert (await client.head("/")).status_code == 307


async def test_every_path_tells_all_the_methods_that_it_takes(settings: PlatformSettings) -> None:
    async with client_of(assemble((SENDER, RECEIVER), settings)) as client:
        answer = await client.delete("/health")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
        answer = await client.post("/blobs/a.jpg")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, PUT")


async def test_the_document_tells_what_permissions_and_signatures_bring_about(settings: PlatformSettings) -> None:
    async with client_of(assemble((SENDER, RECEIVER), settings)) as client:
        document = (await client.get("/openapi.json")).json()
    paths = document["paths"]
    for method in ("get", "head", "put"):
        assert {"403", "404"} <= paths["/blobs/{key}"][method]["responses"].keys()
    assert {"401", "403"} <= paths["/health/status"]["get"]["responses"].keys()
    assert "401" not in paths["/health"]["get"]["responses"]
    for path in ("/health", "/health/ready"):
        assert "503" in paths[path]["get"]["responses"]
    guarded = [documented for item in paths.values() for documented in item.values() if documented.get("security")]
    assert guarded
    for documented in guarded:
        for status in ("401", "403"):
            assert documented["responses"][status]["content"].keys() == {"application/problem+json"}
    assert "HTTPValidationError" not in str(document)


async def test_a_check_that_fails_shows_and_only_a_required_one_counts(settings: PlatformSettings) -> None:
    async def broken(_desk: ReceiverDesk) -> None:
        raise RuntimeError("out of paper")

    optional = replace(RECEIVER, checks=(Check("paper", broken, required=False),))
    async with client_of(assemble((SENDER, optional), settings)) as client:
        assert (await client.get("/health/ready")).status_code == 200
        assert (await client.get("/health")).json()["checks"]["paper"] == "unhealthy"
    needed = replace(RECEIVER, checks=(Check("paper", broken),))
    async with client_of(assemble((SENDER, needed), settings)) as client:
        assert (await client.get("/health/ready")).status_code == 503


async def health_when(client: httpx.AsyncClient, status: str) -> dict[str, str]:
    """The checks once health is so; it is asked anew each second."""
    async with asyncio.timeout(60):
        while True:
            report = (await client.get("/health")).json()
            if report["status"] == status:
                checks: dict[str, str] = report["checks"]
                return checks
            await asyncio.sleep(0.2)


async def test_an_inbox_that_cannot_store_what_arrives_degrades_health_until_it_can(settings: PlatformSettings) -> None:
    """Its database answers, so that nothing else tells."""
    app = assemble((SENDER, RECEIVER), settings)
    receiver = Database(database_url("receiver", settings), schema="receiver")
    operator = issue_token(signing_key(settings), "ana", ("platform:viewer",), timedelta(minutes=5))
    async with client_of(app) as client:
        assert (await client.get("/health")).json()["checks"]["receiver inbox"] == "healthy"
        async with receiver.work() as work:
            await work.execute(sa.text("ALTER TABLE inbox RENAME TO away"))
        await app.state.implementations[SenderDesk].greet(name="world")
        checks = await health_when(client, "degraded")
        assert {name for name, state in checks.items() if state == "unhealthy"} == {"receiver inbox"}
        assert (await client.get("/health/ready")).status_code == 200
        report = (await client.get("/health/status", headers={"Authorization": f"Bearer {operator}"})).json()
        [reason] = [check["reason"] for check in report["checks"] if check["name"] == "receiver inbox"]
        assert reason.startswith("NotStored: messages arrive that cannot be stored, and will come again: ")
        assert "no such table: inbox" in reason
        async with receiver.work() as work:
            await work.execute(sa.text("ALTER TABLE away RENAME TO inbox"))
        await health_when(client, "healthy")
        assert await asyncio.wait_for(app.state.implementations[ReceiverDesk].received.get(), 20) == "hello world"
    await receiver.close()


class Lost(Contract, service="lost"): ...


class Greedy(Contract, service="greedy", paths=("/sender/more",)): ...


class GreedyDesk(Greedy):
    def __init__(self, resources: Resources[Settings]) -> None: ...


def test_all_missing_wiring_is_reported_at_once(settings: PlatformSettings) -> None:
    elsewhere = APIRouter()
    elsewhere.add_api_route("/elsewhere", lambda: None, dependencies=[public("a test")])
    tick = Schedule("tick", cron="* * * * *", task=Greet(name="a"))
    greedy = Service(
        contract=Greedy,
        implementation=GreedyDesk,
        settings=Settings,
        uses=(Lost,),
        router=elsewhere,
        handlers=(say, say),
        schedules=(tick, tick),
    )
    with pytest.raises(WiringError) as refusal:
        assemble((SENDER, RECEIVER, greedy), settings)
    said = str(refusal.value)
    assert len(refusal.value.problems) == 5
    assert "greedy uses Lost, which no process hosts: add 'lost' to the services of the deployment" in said
    assert "sender owns the path /sender and greedy owns /sender/more" in said
    assert "greedy has 2 handlers named 'say' of sender.Greet" in said
    assert "greedy has 2 schedules named 'tick'" in said
    assert "greedy has the route /elsewhere outside of its contract's paths" in said


class Porch(Contract, service="porch", paths=("/",)): ...


class PorchDesk(Porch):
    def __init__(self, resources: Resources[Settings]) -> None: ...


def test_the_root_is_owned_without_what_lies_below_it(settings: PlatformSettings) -> None:
    def porch(*paths: str) -> Service:
        routes = APIRouter()
        for path in paths:
            routes.add_api_route(path, lambda: None, dependencies=[public("a test")])
        return Service(contract=Porch, implementation=PorchDesk, settings=Settings, router=routes)

    assemble((SENDER, RECEIVER, porch("/")), settings)
    with pytest.raises(WiringError, match="porch has the route /lawn outside"):
        assemble((SENDER, RECEIVER, porch("/", "/lawn")), settings)


def test_a_schedule_without_a_handler_is_reported(settings: PlatformSettings) -> None:
    lonely = replace(RECEIVER, handlers=(), schedules=(Schedule("tick", cron="* * * * *", task=Greet(name="a")),))
    with pytest.raises(WiringError, match="receiver schedules Greet but has no handler for it"):
        assemble((lonely,), settings)


def test_routes_without_permission_and_scopes_without_role_are_reported(settings: PlatformSettings) -> None:
    careless = APIRouter()
    careless.add_api_route("/receiver/open", lambda: None)
    careless.add_api_route("/receiver/typo", lambda: None, dependencies=[requires("receiver:edtor")])
    with pytest.raises(WiringError) as refusal:
        assemble((SENDER, replace(RECEIVER, router=careless)), settings)
    said = str(refusal.value)
    assert "GET /receiver/open: has neither requires(…) nor public(…)" in said
    assert "GET /receiver/typo: requires 'receiver:edtor', which no Roles declares" in said


class HalfDesk(Receiver):
    def __init__(self, resources: Resources[Settings]) -> None: ...


def test_an_implementation_that_does_not_implement_is_reported(settings: PlatformSettings) -> None:
    with pytest.raises(WiringError, match="receiver: HalfDesk lacks greeting: implement what Receiver promises"):
        assemble((replace(RECEIVER, implementation=HalfDesk, lifespan=None),), settings)
    foreign = cast("Any", SenderDesk)
    with pytest.raises(WiringError, match=r"SenderDesk does not implement Receiver: write class SenderDesk\(Receiver\)"):
        assemble((replace(RECEIVER, implementation=foreign, lifespan=None),), settings)


class RashDesk(Receiver):
    def __init__(self) -> None: ...

    async def greeting(self) -> str:
        return "hello"


def test_an_implementation_that_takes_no_resources_is_reported(settings: PlatformSettings) -> None:
    rash = cast("Any", RashDesk)
    with pytest.raises(WiringError, match=r"receiver: RashDesk cannot be built as RashDesk\(resources\): write def __init__"):
        assemble((replace(RECEIVER, implementation=rash, lifespan=None),), settings)


def test_tables_that_no_migration_makes_are_reported(settings: PlatformSettings) -> None:
    metadata = sa.MetaData()
    sa.Table("letters", metadata, sa.Column("id", sa.Integer, primary_key=True))
    with pytest.raises(WiringError, match="receiver lists tables but no migrations: write migrations="):
        assemble((replace(RECEIVER, tables=metadata),), settings)
    for nowhere in ("trenza_nowhere.migrations", "trenza.chassis"):
        with pytest.raises(WiringError, match=f"receiver: {nowhere} has no folder 'versions': add versions/0001_<what>.py to it"):
            assemble((replace(RECEIVER, tables=metadata, migrations=nowhere),), settings)


@handles(Greet, consumer="other")
async def say_twice(_sender: SenderDesk, _task: Greet, _delivery: Any) -> None: ...


@reacts(Greeted, consumer="say")
async def overhear(_sender: SenderDesk, _event: Greeted, _delivery: Any) -> None: ...


def test_handlers_that_contradict_each_other_are_reported(settings: PlatformSettings) -> None:
    with pytest.raises(WiringError, match=r"sender: the task sender.Greet has two handlers; a task is done once"):
        assemble((replace(SENDER, handlers=(say, say_twice)), RECEIVER), settings)
    assemble((replace(SENDER, handlers=(say, overhear)), RECEIVER), settings)  # one consumer of two types keeps their order


@pytest.mark.parametrize(
    ("schedule", "problem"),
    [
        (Schedule("tick", cron="every day", task=Greet(name="a")), "sender: schedule tick: 'every day' is no cron expression"),
        (
            Schedule("tick", cron="0 0 * * *", timezone="Mars", task=Greet(name="a")),
            "sender: schedule tick: 'Mars' is no IANA timezone",
        ),
    ],
)
def test_a_schedule_that_never_fires_is_reported(settings: PlatformSettings, schedule: Schedule, problem: str) -> None:
    with pytest.raises(WiringError, match=re.escape(problem)):
        assemble((replace(SENDER, schedules=(schedule,)), RECEIVER), settings)


def test_a_circle_of_uses_is_reported(settings: PlatformSettings) -> None:
    with pytest.raises(WiringError, match="services use each other in a circle"):
        assemble((SENDER, replace(RECEIVER, uses=(Sender,))), settings)


def test_calling_a_contract_that_the_wiring_does_not_list_is_refused(settings: PlatformSettings) -> None:
    app = assemble((SENDER, RECEIVER), settings)
    with pytest.raises(RuntimeError, match="receiver calls Sender: list it in `uses` of its wiring"):
        app.state.implementations[ReceiverDesk].resources.call(Sender)


def test_a_service_without_tables_and_handlers_has_no_database(settings: PlatformSettings) -> None:
    app = assemble((replace(RECEIVER, handlers=()),), settings)
    with pytest.raises(RuntimeError, match="receiver lists neither tables nor handlers in its wiring"):
        app.state.implementations[ReceiverDesk].resources.database.work()
    assert not (settings.data_dir / "db").exists()


def test_settings_of_all_services_are_judged_at_once(settings: PlatformSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(BaseSettings):
        model_config = SettingsConfigDict(env_prefix="TRENZA_RECEIVER_")
        size: int = 1

    monkeypatch.setenv("TRENZA_SENDER_LIMIT", "many")
    monkeypatch.setenv("TRENZA_RECEIVER_SIZE", "big")
    with pytest.raises(InvalidSettings) as refusal:
        assemble((SENDER, replace(RECEIVER, settings=Other)), settings)
    assert [problem.split(" is ")[0] for problem in refusal.value.problems] == ["TRENZA_RECEIVER_SIZE", "TRENZA_SENDER_LIMIT"]


def test_production_refuses_what_platform_and_services_call_unsafe(settings: PlatformSettings) -> None:
    production = settings.model_copy(update={"environment": "production"})
    with pytest.raises(UnsafeSettings) as refusal:
        assemble((SENDER, RECEIVER), production)
    assert "TRENZA_SIGNING_KEY_FILE" in str(refusal.value)
    assert "TRENZA_SENDER_LIMIT" in str(refusal.value)


class SafeSettings(BaseSettings):
    pass


async def test_production_starts_only_when_migrated(tmp_path: Path, make_production: Callable[[Path], PlatformSettings]) -> None:
    settings = make_production(tmp_path)
    services = (replace(SENDER, settings=SafeSettings), replace(RECEIVER, settings=SafeSettings))
    with pytest.raises(PendingMigrations, match="migrations are pending for receiver, sender: run `trenza migrate` first"):
        async with client_of(assemble(services, settings)):
            pass
    app = assemble(services, settings)
    await migrate(app.state.assembly.databases, services)
    async with client_of(app) as client:
        assert (await client.get("/health/ready")).status_code == 200


async def test_a_database_that_does_not_answer_ends_the_start(settings: PlatformSettings) -> None:
    unreachable = settings.model_copy(update={"database_url": "postgresql://nobody@127.0.0.1:9/none"})
    with pytest.raises(DatabaseUnavailable):
        async with client_of(assemble((SENDER, RECEIVER), unreachable)):
            pass


def test_each_service_has_its_own_database(settings: PlatformSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert database_url("fleet-map", settings).database == str(settings.data_dir / "db" / "fleet-map.sqlite3")
    shared = settings.model_copy(update={"database_url": "postgres://u:p@db/main"})
    assert database_url("fleet-map", shared).drivername == "postgresql+asyncpg"
    monkeypatch.setenv("TRENZA_FLEET_MAP_DATABASE_URL", "sqlite:////tmp/own.sqlite3")
    assert database_url("fleet-map", shared) == sa.make_url("sqlite+aiosqlite:////tmp/own.sqlite3")


@pytest.mark.parametrize("url", ["nonsense", "mysql://u:secret@db/main", "sqlite://"])
def test_a_database_url_that_cannot_be_used_is_refused_without_quoting_it(settings: PlatformSettings, url: str) -> None:
    with pytest.raises(InvalidSettings, match="TRENZA_DATABASE_URL") as refusal:
        database_url("sender", settings.model_copy(update={"database_url": url}))
    assert "secret" not in str(refusal.value)
