"""`trenza up` for a deployment of several processes: it keeps them, renews them, and ends them in order."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import httpx
import pytest

from trenza.chassis.testing.server_process import EndedEarly, ServerProcess, run_trenza, split_deployment

SECONDS = 60.0


async def gone(process_id: int) -> None:
    """Wait until a process that is no child of this one has ended."""
    async with asyncio.timeout(SECONDS):
        while await asyncio.to_thread(Path(f"/proc/{process_id}").exists):  # noqa: ASYNC110 - the kernel sets no event of ours
            await asyncio.sleep(0.05)


async def another(server: ServerProcess, name: str, than: int) -> int:
    """The id of the process that has taken the place of one."""
    async with asyncio.timeout(SECONDS):
        while (found := server.members().get(name, than)) == than:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.05)
    return found


async def test_all_processes_start_one_that_dies_comes_back_and_all_end_in_order(tmp_path: Path) -> None:
    file = split_deployment(tmp_path)
    async with ServerProcess.running(tmp_path / "data", deployment=file) as server, httpx.AsyncClient(trust_env=False) as http:
        said = await server.logs("Renew")
        assert "in 3 processes (development)" in said
        members = server.members()
        assert set(members) == {"gateway", "photos", "images"}
        for url in (f"{server.url}/health/live", f"{server.url}/health/ready"):
            assert (await http.get(url)).is_success

        os.kill(members["images"], signal.SIGKILL)
        await server.logs("images was killed by SIGKILL; starting it again in 0.5 s")
        images = await another(server, "images", members["images"])
        assert server.members() == members | {"images": images}

        code = await server.stop()
        said = await server.logs("stopped", times=2)
        assert code == 0
        ends = [line.partition("│")[0].strip() for line in said.splitlines() if "asked to stop" in line]
        assert ends[:2] == ["gateway", "photos"]  # images may still have been starting
        for member in (*members.values(), images):
            await gone(member)


async def test_a_hangup_renews_one_process_after_the_other(tmp_path: Path) -> None:
    file = split_deployment(tmp_path, replicas=2)
    async with ServerProcess.running(tmp_path / "data", deployment=file) as server:
        before = server.members()
        assert set(before) == {"gateway", "photos.0", "photos.1", "images.0", "images.1"}
        os.kill(server.process_id, signal.SIGHUP)
        said = await server.logs("all renewed")
        after = server.members()
        assert set(after) == set(before)
        assert not set(after.values()) & set(before.values())
        turns = [line.split()[2] for line in said.splitlines() if line.endswith("renewing")]
        assert turns == ["images.0", "images.1", "photos.0", "photos.1", "gateway"]  # those first whom others call
        assert "was killed" not in said


async def test_without_their_supervisor_the_processes_drain_and_end(tmp_path: Path) -> None:
    file = split_deployment(tmp_path)
    async with ServerProcess.running(tmp_path / "data", deployment=file) as server:
        members = server.members()
        await server.kill()
        for member in members.values():
            await gone(member)


async def test_addresses_that_are_taken_are_told_before_anything_starts(tmp_path: Path) -> None:
    file = split_deployment(tmp_path)
    address = next(line for line in file.read_text().splitlines() if "url" in line and "127.0.0.1" in line).rpartition(":")[2]
    with socket.create_server(("127.0.0.1", int(address.strip('"')) + 2)), pytest.raises(EndedEarly) as ended:
        async with ServerProcess.running(tmp_path / "data", deployment=file):
            pass
    assert ended.value.code == 1
    assert "deployment 'split' cannot start: images: port" in str(ended.value)
    assert "is in use: stop what uses it, or choose another" in str(ended.value)
    assert "│" not in str(ended.value)  # nothing was started


async def test_two_deployments_do_not_share_a_gateways_address(tmp_path: Path) -> None:
    file = split_deployment(tmp_path, gateways=2)
    async with ServerProcess.running(tmp_path / "data", deployment=file):
        with pytest.raises(EndedEarly, match="cannot start"):
            async with ServerProcess.running(tmp_path / "other", deployment=file):
                pass


async def test_one_that_cannot_start_ends_them_all(tmp_path: Path) -> None:
    file = split_deployment(tmp_path)
    wrong = {"TRENZA_IMAGES_TIMEOUT_SECONDS": "soon"}
    with pytest.raises(EndedEarly) as ended:
        async with ServerProcess.running(tmp_path / "data", deployment=file, environment=wrong):
            pass
    assert ended.value.code == 1
    assert "TRENZA_IMAGES_TIMEOUT_SECONDS is 'soon'" in str(ended.value)
    assert "images could not start (exit code 1); stopping the others" in str(ended.value)


async def test_whoever_wants_all_of_the_data_folder_is_refused_beside_those_who_share_it(tmp_path: Path) -> None:
    file = split_deployment(tmp_path)
    async with ServerProcess.running(tmp_path / "data", deployment=file) as server:
        code, _, err = await run_trenza("up", "--port", "0", "--data-dir", str(server.data_dir))
        assert code == 1
        assert "is in use by the processes of a deployment: stop them, or give this one its own folder" in err
    async with ServerProcess.running(tmp_path / "data"):
        code, _, err = await run_trenza("serve", "images", "--deployment", str(file), "--data-dir", str(tmp_path / "data"))
        assert code == 1
        assert "is in use by process" in err


async def test_addresses_are_no_matter_of_options(tmp_path: Path) -> None:
    code, _, err = await run_trenza("up", "--deployment", str(split_deployment(tmp_path)), "--port", "8000")
    assert code == 2
    assert err == "trenza: deployment 'split' has several processes: their addresses are in its file, not in options\n"
    code, _, err = await run_trenza("serve", "fotos", "--deployment", str(split_deployment(tmp_path)))
    assert code == 1
    assert "it has no process 'fotos'; known: gateway, photos, images" in err
