"""A SIGKILL at each named point of the message layer, on the real process: afterwards everything took effect, once."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from trenza.chassis.failpoints import Failpoint
from trenza.chassis.testing.server_process import EndedEarly, run_trenza

if TYPE_CHECKING:
    from tests.faults.conftest import Installation, MakeInstallation

    from trenza.chassis.testing.server_process import ServerProcess

EACH = os.environ.get("FAULTS_POINTS") == "all"
BY_COMMAND = (Failpoint.CANCEL_ASKED, Failpoint.LETTERS_REDRIVING)
"""What only operators do, by commands that are processes of their own."""
BY_SERVER = tuple(point for point in Failpoint if point not in BY_COMMAND)
BY_DRAIN = (Failpoint.ENDING_BEFORE_COMMIT, Failpoint.ENDING_RECORDED)
BY_HEARTBEAT = (Failpoint.HEARTBEAT_BEFORE, Failpoint.HEARTBEAT_EXTENDED)
BY_SCHEDULE = (Failpoint.SCHEDULE_ADVANCED, Failpoint.SCHEDULE_FIRED)
COUNTS = {Failpoint.WORK_BEFORE_COMMIT: 8, Failpoint.WORK_COMMITTED: 8}
"""Those that a start reaches by itself are to fall in the middle of uploads."""


@pytest.fixture
def another_distribution(tmp_path: Path) -> Path:
    """A folder as pip would install one, with a service that reacts to events, and a deployment file that lists it."""
    folder = tmp_path / "site-packages"
    information = folder / "logbook-1.dist-info"
    information.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("logbook.py"), folder)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: logbook\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[trenza.services]\nlogbook = logbook:service\n")
    (folder / "deployment.toml").write_text('[processes.all]\nservices = ["photos", "images", "logbook"]\n')
    return folder


async def die_at(point: Failpoint, installation: Installation, make_photo: Callable[[], bytes]) -> None:
    """Let a server run into the point, with uploads to do, and fail the test when it survives."""
    if point is Failpoint.MAINTENANCE_ADOPTING:
        await leave_orphaned_messages(installation, make_photo)
    if point is Failpoint.WORKER_RECOVERED:
        await leave_a_message_held(installation, make_photo)
    if point in BY_SCHEDULE:
        await installation.age()
    photos = 8 if point in BY_DRAIN else 100  # a hundred is without end: it dies before
    environment = {"TRENZA_FAILPOINT": f"{point}:{COUNTS.get(point, 1)}"}
    if point in BY_DRAIN:  # messages that are released when there is no time to finish them
        environment |= {"TRENZA_DRAIN_SECONDS": "0"}
    try:
        async with installation.serving(environment) as server, installation.client(server) as client:
            if point in BY_HEARTBEAT:
                with suppress(httpx.TransportError):  # it may have died with what the last start left
                    await hold_a_photo_up(installation, server, client, make_photo)
                photos = 0
            sending = [asyncio.create_task(keep_sending(installation, client, make_photo, photos=photos)) for _ in range(2)]
            if point in BY_DRAIN:
                await asyncio.gather(*sending)
                os.kill(server.process_id, signal.SIGTERM)
            try:
                code = await asyncio.wait_for(server.wait(), 90)
            except TimeoutError:
                pytest.fail(f"the server does not come to {point}")
            await asyncio.gather(*sending)
    except EndedEarly as early:
        code = early.code
    assert code == -signal.SIGKILL, f"a server that should have died at {point} ended with {code}"


async def keep_sending(
    installation: Installation, client: httpx.AsyncClient, make_photo: Callable[[], bytes], *, photos: int
) -> None:
    """Upload ``photos`` photos, or until the server is gone."""
    for _ in range(photos):
        try:
            assert (await installation.send(client, make_photo())).status_code == 202
        except httpx.TransportError:
            return


async def hold_a_photo_up(
    installation: Installation, server: ServerProcess, client: httpx.AsyncClient, make_photo: Callable[[], bytes]
) -> None:
    """Stop the image workers, and send a photo: its handler still runs when the next heartbeat comes."""
    await installation.completed(client)
    assert (await installation.send(client, make_photo(), Prefer="wait=60")).status_code == 201
    for worker in psutil.Process(server.process_id).children():
        worker.suspend()  # they end with their parent, stopped or not
    assert (await installation.send(client, make_photo())).status_code == 202


async def leave_a_message_held(installation: Installation, make_photo: Callable[[], bytes]) -> None:
    """Kill a server while a handler runs."""
    async with installation.serving() as server, installation.client(server) as client:
        await hold_a_photo_up(installation, server, client, make_photo)
        async with asyncio.timeout(60):
            while "running" not in await installation.inbox_states("photos.RenderPhoto"):  # noqa: ASYNC110 - in another process
                await asyncio.sleep(0.1)
        await server.kill()


async def leave_orphaned_messages(installation: Installation, make_photo: Callable[[], bytes]) -> None:
    """Kill a server that has more to do than it does at once, and take the consumer from what waits."""
    slow = {"TRENZA_WORKER_CONCURRENCY": "1"}
    async with installation.serving(slow) as server, installation.client(server) as client:
        await asyncio.gather(*(installation.send(client, make_photo()) for _ in range(6)))
        await server.kill()
    assert await installation.orphan_messages() > 0


@pytest.mark.parametrize("points", [(point,) for point in BY_SERVER] if EACH else [BY_SERVER], ids="-".join if EACH else len)
@pytest.mark.parametrize("database", ["sqlite", "postgres"] if EACH else ["sqlite"])
@pytest.mark.timeout(900)
async def test_a_server_that_dies_at_points(
    make_installation: MakeInstallation,
    make_photo: Callable[[], bytes],
    another_distribution: Path,
    *,
    request: pytest.FixtureRequest,
    database: str,
    points: tuple[Failpoint, ...],
) -> None:
    """Each start mends what the last one left, and dies at the next point; ``make faults`` proves the effects after each."""
    settings = {"TRENZA_DATABASE_URL": request.getfixturevalue("postgres_url")} if database == "postgres" else {}
    installation = make_installation(**settings, PYTHONPATH=str(another_distribution))
    installation.arguments = ("--deployment", str(another_distribution / "deployment.toml"))
    async with installation.serving() as server, installation.client(server) as client:
        assert (await installation.send(client, make_photo())).status_code == 202
        await server.kill()
    for point in points:
        await die_at(point, installation, make_photo)
    await installation.prove_whole()
    # On PostgreSQL the lease of a dead process's relay has to run out first.
    async with installation.serving() as server, asyncio.timeout(90):
        while (heard := await installation.heard("logbook")) != (told := await installation.announcements()):
            assert heard <= told, "handled twice, or what was never announced"
            await asyncio.sleep(0.2)
        assert await server.stop() == 0


async def command(installation: Installation, *arguments: str, at: Failpoint | None = None) -> list[dict[str, Any]]:
    """What a command of an operator prints as JSON; nothing when it dies at a point, as it must then."""
    more = {} if at is None else {"TRENZA_FAILPOINT": at.value}
    where = ("--data-dir", str(installation.data_dir))
    code, out, err = await run_trenza(*arguments, *where, environment={**installation.environment, **more})
    assert code == (0 if at is None else -signal.SIGKILL), err
    return json.loads(out) if "--json" in arguments and at is None else []


@pytest.mark.timeout(240)
async def test_a_command_that_dies_halfway_has_done_all_or_nothing(
    make_installation: MakeInstallation, make_photo: Callable[[], bytes]
) -> None:
    installation = make_installation()
    async with installation.serving() as server, installation.client(server) as client:
        form = {"upid": "UNP-FAULT", "callback_url": "http://no..host/not-allowed"}
        upload = await client.post("/api/photos/upload", data=form, files={"file": ("a.jpg", make_photo())})
        assert upload.status_code == 202
        await installation.completed(client)
        async with asyncio.timeout(30):
            while "failed" not in await installation.inbox_states("photos.CallBack"):  # noqa: ASYNC110 - another process' end
                await asyncio.sleep(0.1)
        assert await server.stop() == 0
    (letter,) = await command(installation, "dead-letters", "list", "--json")
    await command(installation, "dead-letters", "redrive", letter["id"], at=Failpoint.LETTERS_REDRIVING)
    assert await installation.inbox_states("photos.CallBack") == ["failed"]
    await command(installation, "dead-letters", "redrive", letter["id"])
    assert await installation.inbox_states("photos.CallBack") == ["waiting"]
    (task,) = [task for task in await command(installation, "tasks", "list", "--json") if task["type"] == "photos.CallBack"]
    await command(installation, "tasks", "cancel", task["id"], at=Failpoint.CANCEL_ASKED)
    assert await installation.inbox_states("photos.CallBack") == ["cancelled"]
