from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from PIL import Image
from typer.testing import Result

from trenza.chassis.testing.server_process import ServerProcess, free_port, run_trenza

Trenza = Callable[..., Result]


async def run(trenza: Trenza, *arguments: str | Path) -> tuple[int, str, str]:
    """A command in this process, in a thread of its own: exit code, standard output, standard error."""
    result = await asyncio.to_thread(trenza, *arguments)
    return result.exit_code, result.stdout, result.stderr


async def put(trenza: Trenza, server: ServerProcess, *arguments: str | Path) -> tuple[int, list[list[str]], str]:
    """`trenza photos put`, as its exit code, the cells of its table, and standard error."""
    code, out, err = await run(trenza, "photos", "put", "--url", server.url, "--data-dir", server.data_dir, *arguments)
    return code, [line.split(maxsplit=6) for line in out.splitlines()[1:]], err


async def test_the_banner_names_the_addresses_the_folder_and_the_command_for_a_token(server: ServerProcess) -> None:
    said = await asyncio.to_thread(server.log.read_text)
    for part in (server.url, f"{server.url}/docs", f"{server.url}/health", f"{server.url}/metrics", str(server.data_dir)):
        assert part in said
    command = next(line for line in said.splitlines() if line.strip().startswith("Token"))
    assert f"token --data-dir {server.data_dir} photos:editor" in command


async def test_a_photo_goes_in_and_its_versions_come_out(
    trenza: Trenza, server: ServerProcess, make_photo: Callable[[str], Path], tmp_path: Path
) -> None:
    photos = [make_photo(f"{number}.jpg") for number in range(5)]
    code, table, err = await put(trenza, server, *photos, "--upid", "UNP-1978", "--stage", "antes")
    assert code == 0, err
    assert [line[0] for line in table] == [photo.name for photo in photos]
    assert {line[1] for line in table} == {"completed"}
    assert len({UUID(line[2]) for line in table}) == 5
    assert all(line[-1].endswith("thumbnail small medium large") for line in table)

    common = ("--url", server.url, "--data-dir", str(server.data_dir))
    code, out, _ = await run(trenza, "photos", "get", table[0][2], *common)
    record = json.loads(out)
    assert (code, record["upid"], record["stage"]) == (0, "UNP-1978", "antes")
    target = tmp_path / "small.jpg"
    code, out, _ = await run(trenza, "photos", "get", table[0][2], "--version", "small", "-o", str(target), *common)
    assert (code, out) == (0, f"{target}\n")
    with await asyncio.to_thread(Image.open, target) as image:
        assert image.size == (640, 480)
    code, _, err = await run(trenza, "photos", "get", table[0][2], "--version", "huge", *common)
    assert code == 1
    assert err.startswith("trenza: ")
    assert err.count("\n") == 1

    again, table, _ = await put(trenza, server, photos[0], "--upid", "UNP-1978")
    assert again == 0
    assert table[0][2] == record["id"]  # the same bytes under the same UPID are the same photo


async def test_a_bad_file_spoils_no_other_and_the_exit_code_tells(
    trenza: Trenza, server: ServerProcess, make_photo: Callable[[str], Path], tmp_path: Path
) -> None:
    fake = tmp_path / "fake.jpg"
    fake.write_text("this is no photograph")
    code, table, _ = await put(trenza, server, make_photo("good.jpg"), fake, "--upid", "UNP-2")
    assert code == 1
    assert [line[1] for line in table] == ["completed", "failed"]
    assert "(400)" in table[1][-1]
    code, table, _ = await put(trenza, server, make_photo("other.jpg"), "--upid", "no such upid!")
    assert code == 1
    assert "(422)" in table[0][-1]


async def test_an_upload_waits_for_a_server_that_is_about_to_start(
    trenza: Trenza, server: ServerProcess, make_photo: Callable[[str], Path]
) -> None:
    await server.stop()
    port = server.url.rpartition(":")[2]
    photo = make_photo("early.jpg")
    waiting = asyncio.create_task(put(trenza, server, photo, "--upid", "UNP-3"))
    restarted = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "trenza",
        "up",
        "--port",
        port,
        "--data-dir",
        str(server.data_dir),
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        code, table, err = await waiting
        assert code == 0, err
        assert table[0][1] == "completed"
    finally:
        restarted.terminate()
        assert await restarted.wait() == 0


async def test_tasks_can_be_looked_at_beside_the_running_server(
    trenza: Trenza, server: ServerProcess, make_photo: Callable[[str], Path]
) -> None:
    await put(trenza, server, make_photo("a.jpg"), make_photo("b.jpg"), "--upid", "UNP-4")
    common = ("--data-dir", str(server.data_dir))
    _, out, _ = await run(trenza, "tasks", "list", "--json", "--state", "completed", *common)
    tasks = json.loads(out)
    assert [task["type"] for task in tasks] == ["photos.RenderPhoto"] * 2
    _, out, _ = await run(trenza, "tasks", "list", "--limit", "1", *common)
    assert len(out.splitlines()) == 2
    _, out, _ = await run(trenza, "tasks", "show", tasks[0]["id"], *common)
    assert "completed" in out
    code, _, err = await run(trenza, "tasks", "cancel", tasks[0]["id"], *common)
    assert code == 1
    assert "has ended already (completed)" in err
    code, _, err = await run(trenza, "tasks", "show", "01a2005d-c6c6-765d-acc2-27abbe5eb2bd", *common)
    assert code == 1
    assert "no task 01a2005d-c6c6-765d-acc2-27abbe5eb2bd is known" in err


async def test_a_second_instance_on_the_same_data_is_refused(server: ServerProcess) -> None:
    code, _, err = await run_trenza("up", "--port", str(free_port()), "--data-dir", str(server.data_dir))
    assert code == 1
    said = f"data folder {server.data_dir} is in use by process {server.process_id}: stop it (kill {server.process_id})"
    assert err.splitlines()[-1].startswith(f"trenza: {said}")
    async with httpx.AsyncClient(base_url=server.url) as client:
        assert (await client.get("/health/ready")).status_code == 200


async def test_a_token_works_beside_the_running_server(server: ServerProcess) -> None:
    async with httpx.AsyncClient(base_url=server.url) as client:
        assert (await client.get("/health/status")).status_code == 401
        viewer = {"Authorization": f"Bearer {await server.token('photos:viewer')}"}
        assert (await client.get("/health/status", headers=viewer)).status_code == 403
        operator = {"Authorization": f"Bearer {await server.token('platform:viewer')}"}
        assert (await client.get("/health/status", headers=operator)).status_code == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_no_upload_is_lost_when_the_server_drains_under_load(
    server: ServerProcess, make_photo: Callable[[str], Path], number: signal.Signals
) -> None:
    """Every answer before the end is whole, every acknowledged photo completes after the restart, and the exit code is 0."""
    headers = {"Authorization": f"Bearer {await server.token('photos:editor')}"}
    photos = [make_photo(f"{number}.jpg") for number in range(40)]
    acknowledged: list[str] = []
    unsent = iter(photos)

    async def upload(client: httpx.AsyncClient) -> None:
        for photo in unsent:
            content = await asyncio.to_thread(photo.read_bytes)
            try:
                response = await client.post("/api/photos/upload", files={"file": (photo.name, content)}, data={"upid": "UNP-5"})
            except httpx.ConnectError:
                return
            assert response.status_code in (200, 202), response.text
            acknowledged.append(response.json()["id"])
            if len(acknowledged) == 8:
                asyncio.get_running_loop().call_soon(stop.set)

    stop = asyncio.Event()
    clients = [httpx.AsyncClient(base_url=server.url, headers=headers, timeout=30) for _ in range(4)]
    uploads = [asyncio.create_task(upload(client)) for client in clients]
    await asyncio.wait_for(stop.wait(), 30)
    assert await server.stop(number) == 0
    await asyncio.gather(*uploads)
    for client in clients:
        await client.aclose()
    assert len(acknowledged) >= 8

    async with (
        ServerProcess.running(server.data_dir) as restarted,
        httpx.AsyncClient(base_url=restarted.url, headers=headers) as client,
        asyncio.timeout(60),
    ):
        for photo_id in acknowledged:
            while (photo := (await client.get(f"/api/photos/{photo_id}")).json())["status"] != "completed":
                assert photo["status"] in ("queued", "processing")
                await asyncio.sleep(0.1)
            assert len(photo["versions"]) == 4


async def test_a_narrow_terminal_shows_every_id_whole_and_what_went_wrong_below(
    trenza: Trenza, server: ServerProcess, make_photo: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "texto.jpg"
    text.write_text("no picture")
    for name, value in {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)
    photo = make_photo("una fotografía de la obra con un nombre muy largo.jpg")
    common = ("--url", server.url, "--data-dir", server.data_dir)
    code, out, _ = await run(trenza, "photos", "put", photo, text, "--upid", "UP-1", *common)
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out).splitlines()]
    assert code == 1
    assert max(map(len, lines)) <= 80
    row = next(line for line in lines if " completed " in line)
    assert UUID(row.split(" completed ")[1].split()[0]).version == 7
    below = "\n".join(lines).partition("texto.jpg: ")[2]
    assert "it is a text, not an image" in " ".join(below.split())
