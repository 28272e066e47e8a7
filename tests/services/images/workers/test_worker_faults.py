"""A worker that dies, hangs, eats memory or time costs one image an error, and the next image nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import psutil
import pytest
import uvloop

from trenza.chassis.blobs import Blobs
from trenza.chassis.testing.hostile_pictures import png_bomb
from trenza.chassis.testing.pictures import phone_photo
from trenza.services.images.contract import ImageTooLarge, ProcessingFailed, ProcessingTimeout, Rendition
from trenza.services.images.jobs import RenderJob
from trenza.services.images.service import ImageEngine
from trenza.services.images.wiring import service
from trenza.services.images.workers.pool import WorkerPool
from trenza.services.images.workers.worker import Confinement, WorkerUnavailable

Put = Callable[[bytes], Awaitable[str]]
MakeEngine = Callable[..., ImageEngine]

PHOTO = phone_photo(160, 120)
SMALL = (Rendition(name="small", key="out/small.jpg", width=100, height=100),)
HUGE = Rendition(name="huge", key="out/huge", width=16_000, height=16_000)


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that another process does and that nobody is told of."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - another process' end has no event of ours
            await asyncio.sleep(0.01)


def running(process_id: int) -> bool:
    try:
        return psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@asynccontextmanager
async def stopped_worker_with_a_job(engine: ImageEngine, source: str) -> AsyncIterator[tuple[int, asyncio.Task[object]]]:
    """A worker that was stopped (SIGSTOP) and then given a job: it will stay in the middle of it."""
    await engine.workers.warm()
    (process_id,) = engine.workers.process_ids
    os.kill(process_id, signal.SIGSTOP)
    task: asyncio.Task[object] = asyncio.create_task(engine.render(source=source, renditions=SMALL))
    await until(lambda: engine.workers.busy)
    yield process_id, task
    await until(lambda: not running(process_id))


async def works(engine: ImageEngine, source: str) -> bool:
    return len((await engine.render(source=source, renditions=SMALL)).renditions) == 1


async def test_a_killed_worker_costs_its_image_only(engine: ImageEngine, blobs: Blobs, put: Put) -> None:
    source = await put(PHOTO)
    async with stopped_worker_with_a_job(engine, source) as (process_id, task):
        os.kill(process_id, signal.SIGKILL)
        with pytest.raises(ProcessingFailed, match="crashed"):
            await task
    assert [stored.key async for stored in blobs.list("out")] == []
    assert await works(engine, source)


async def test_a_hanging_worker_is_killed_when_time_is_up(make_engine: MakeEngine, put: Put) -> None:
    engine = make_engine(timeout_seconds=0.5)
    source = await put(PHOTO)
    async with stopped_worker_with_a_job(engine, source) as (_, task):
        with pytest.raises(ProcessingTimeout, match=r"more than the 0.5 seconds allowed"):
            await task
    assert await works(engine, source)


async def test_an_image_that_had_to_wait_is_not_at_fault(make_engine: MakeEngine, put: Put) -> None:
    engine = make_engine(timeout_seconds=1.5, processor_seconds=1)
    source = await put(PHOTO)
    async with stopped_worker_with_a_job(engine, source) as (_, task):
        with pytest.raises(ProcessingFailed, match="the machine is busy"):
            await task
    assert await works(engine, source)


async def test_a_cancelled_call_kills_its_worker(engine: ImageEngine, put: Put) -> None:
    source = await put(PHOTO)
    async with stopped_worker_with_a_job(engine, source) as (_, task):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await works(engine, source)


async def test_a_worker_killed_while_idle_costs_nothing(engine: ImageEngine, put: Put) -> None:
    source = await put(PHOTO)
    await engine.workers.warm()
    (process_id,) = engine.workers.process_ids
    os.kill(process_id, signal.SIGKILL)
    await until(lambda: engine.workers.alive == 0)
    assert await works(engine, source)


async def test_closing_ends_jobs_without_blaming_the_image(engine: ImageEngine, put: Put) -> None:
    source = await put(PHOTO)
    async with stopped_worker_with_a_job(engine, source) as (_, task):
        await engine.workers.close()
        with pytest.raises(WorkerUnavailable):
            await task
    with pytest.raises(WorkerUnavailable):
        await engine.render(source=source, renditions=SMALL)
    with pytest.raises(WorkerUnavailable):
        await engine.check()


async def test_too_much_memory_is_a_refusal(make_engine: MakeEngine, put: Put) -> None:
    engine = make_engine(memory_bytes=256 * 1024**2)
    with pytest.raises((ImageTooLarge, ProcessingFailed), match=r"256 MiB of memory|crashed"):
        await engine.render(source=await put(png_bomb(9_900, 9_900)), renditions=(HUGE,))
    assert await works(engine, await put(PHOTO))


async def test_an_output_that_takes_too_much_memory_is_a_refusal(make_engine: MakeEngine, put: Put) -> None:
    costly = HUGE.model_copy(update={"media_type": "image/avif"})
    with pytest.raises(ImageTooLarge, match="1,024 MiB of memory") as caught:
        await make_engine().render(source=await put(png_bomb(9_900, 9_900)), renditions=(costly,))
    assert caught.value.fields["limit"] == 1024**3
    assert caught.value.fields["remedy"]


async def test_too_much_processor_time_is_a_refusal(make_engine: MakeEngine, put: Put) -> None:
    engine = make_engine(processor_seconds=1, memory_bytes=4 * 1024**3)
    costly = HUGE.model_copy(update={"media_type": "image/avif"})
    with pytest.raises(ProcessingTimeout, match="1 seconds of processor time") as caught:
        await engine.render(source=await put(png_bomb(9_900, 9_900)), renditions=(costly,))
    assert caught.value.fields["limit"] == 1
    assert caught.value.fields["remedy"]
    assert await works(engine, await put(PHOTO))


async def test_processor_time_is_counted_per_image(make_engine: MakeEngine, put: Put) -> None:
    engine = make_engine(processor_seconds=1)
    source = await put(phone_photo(3000, 2000))
    await engine.workers.warm()
    process = psutil.Process(engine.workers.process_ids[0])
    while sum(process.cpu_times()[:2]) < 2:
        assert await works(engine, source)
    assert engine.workers.process_ids == (process.pid,)


async def test_a_worker_knows_no_secrets_and_has_its_limits(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRENZA_BLOBS_SECRET", "a secret of the service, not of its workers")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another one")
    engine = make_engine(memory_bytes=300 * 1024**2, scratch_bytes=20 * 1024**2, niceness=7)
    await engine.workers.warm()
    process = psutil.Process(engine.workers.process_ids[0])
    environment = process.environ()
    assert "another one" not in environment.values()
    assert not [name for name in environment if name.startswith(("TRENZA_", "AWS_"))]
    assert Path(environment["TMPDIR"]).parent == tmp_path / "data" / "spool"
    assert process.rlimit(psutil.RLIMIT_DATA) == (300 * 1024**2,) * 2
    assert process.rlimit(psutil.RLIMIT_FSIZE) == (20 * 1024**2,) * 2
    assert process.rlimit(psutil.RLIMIT_CORE) == (0, 0)
    assert process.nice() == min(19, psutil.Process().nice() + 7)
    assert process.rlimit(psutil.RLIMIT_NOFILE)[1] <= 64
    status = await asyncio.to_thread(Path(f"/proc/{process.pid}/status").read_text)
    assert "NoNewPrivs:\t1" in status
    if (sessions := Path(f"/proc/{process.pid}/autogroup")).exists():  # kernels that weigh sessions need to be told as well
        assert (await asyncio.to_thread(sessions.read_text)).endswith("nice 7\n")


async def test_signals_for_the_service_do_not_end_its_workers(engine: ImageEngine, put: Put) -> None:
    await engine.workers.warm()
    (process_id,) = engine.workers.process_ids
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(process_id, number)
    assert await works(engine, await put(PHOTO))
    assert engine.workers.process_ids == (process_id,)


async def test_workers_are_recycled(make_engine: MakeEngine, put: Put) -> None:
    engine = make_engine(images_per_worker=2)
    source = await put(PHOTO)
    seen = []
    for _ in range(3):
        await works(engine, source)
        seen.append(engine.workers.process_ids)
    assert len(seen[0]) == 1
    assert seen[1] == ()
    assert seen[2] not in (seen[0], ())


async def test_workers_retire(make_engine: MakeEngine, put: Put) -> None:
    engine = make_engine(idle_seconds=0.2)
    source = await put(PHOTO)
    assert await works(engine, source)
    await until(lambda: engine.workers.alive == 0)
    assert await works(engine, source)


async def test_no_more_workers_than_allowed(make_engine: MakeEngine, put: Put) -> None:
    engine = make_engine(workers=2)
    source = await put(PHOTO)

    async def one(number: int) -> None:
        rendition = Rendition(name="a", key=f"out/{number}.jpg", width=50, height=50)
        await engine.render(source=source, renditions=(rendition,))
        assert engine.workers.alive <= 2

    await asyncio.gather(*(one(number) for number in range(12)))
    assert engine.workers.alive == 2


async def test_first_come_first_served(tmp_path: Path) -> None:
    await asyncio.to_thread((tmp_path / "photo.jpg").write_bytes, PHOTO)
    job: RenderJob = {
        "source": str(tmp_path / "photo.jpg"),
        "format": "jpeg",
        "max_pixels": 10**8,
        "max_side": 65_535,
        "processor_seconds": 9,
        "fast": True,
        "outputs": [],
    }
    pool = WorkerPool(Confinement(512 * 1024**2, 64 * 1024**2, tmp_path), size=1, jobs_per_worker=9, idle_seconds=9)
    served: list[int] = []

    async def one(number: int) -> None:
        await pool.run(orjson.dumps(job), timeout=9)
        served.append(number)

    await asyncio.gather(*(one(number) for number in range(20)))
    await pool.close()
    assert served == list(range(20))


async def test_a_worker_that_cannot_start_says_why(tmp_path: Path) -> None:
    pool = WorkerPool(Confinement(8 * 1024**2, 1024**2, tmp_path), size=1, jobs_per_worker=9, idle_seconds=9)
    with pytest.raises(WorkerUnavailable, match="did not start"):
        await pool.check()
    with pytest.raises(WorkerUnavailable, match="did not start"):
        await pool.run(b"{}", timeout=9)
    assert pool.alive == 0
    await pool.close()


async def test_prewarming_and_the_lifespan(make_engine: MakeEngine) -> None:
    engine = make_engine(prewarm=True)
    assert service.lifespan is not None
    async with service.lifespan(engine):
        (process_id,) = engine.workers.process_ids
        for check in service.checks:
            await check.run(engine)
    await until(lambda: not running(process_id))


def test_workers_under_uvloop(tmp_path: Path) -> None:
    async def scenario() -> None:
        pool = WorkerPool(Confinement(512 * 1024**2, 64 * 1024**2, tmp_path), size=1, jobs_per_worker=9, idle_seconds=9)
        await pool.warm()
        (process_id,) = pool.process_ids
        os.kill(process_id, signal.SIGKILL)
        await until(lambda: pool.alive == 0)
        await pool.warm()
        await pool.close()
        assert not running(process_id)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


PARENT = """
import asyncio, pathlib, sys
from trenza.services.images.wiring import service
from trenza.services.images.workers.pool import WorkerPool
from trenza.services.images.workers.worker import Confinement

async def main():
    pool = WorkerPool(Confinement(2**29, 2**26, pathlib.Path(sys.argv[1])), size=1, jobs_per_worker=9, idle_seconds=600)
    await pool.warm()
    print(*pool.process_ids, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_workers_die_with_their_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220, S603 - a short test of our own program
    try:
        assert parent.stdout is not None
        process_id = int(await asyncio.to_thread(parent.stdout.readline))
        os.kill(process_id, signal.SIGSTOP)  # so that it cannot notice by itself that its input has closed
        assert running(process_id)
    finally:
        parent.kill()
        parent.communicate()
    await until(lambda: not running(process_id))
