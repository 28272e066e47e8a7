from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from trenza.chassis.testing.server_process import ServerProcess, free_port
from trenza.cli.errors import Failure
from trenza.cli.outputs import Output

Trenza = Callable[..., Result]


def write(target: Path | None, content: bytes, *, extension: str = "") -> Output:
    """Write content to an output, as a command does."""
    output = Output(target, default_stem="fetched")
    with output.opened() as written:
        written.file.write(content)
        written.extension = extension
    return output


def test_a_pipe_is_written_through_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert write(pipe, b"a photo").name is None
        assert os.read(reader, 100) == b"a photo"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_symbolic_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    file, link = tmp_path / "elsewhere" / "file.jpg", tmp_path / "link.jpg"
    file.write_bytes(b"old")
    file.chmod(0o640)
    link.symlink_to(file)
    assert write(link, b"new").name == link
    assert link.is_symlink()
    assert file.read_bytes() == b"new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    dangling = tmp_path / "dangling.jpg"
    dangling.symlink_to(tmp_path / "made.jpg")
    write(dangling, b"content")
    assert dangling.is_symlink()
    assert (tmp_path / "made.jpg").read_bytes() == b"content"


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert write(None, b"x", extension=".webp").name == tmp_path / "fetched.webp"
    kept = tmp_path / "kept.jpg"
    kept.write_bytes(b"old")
    with pytest.raises(Failure, match="lost"), Output(kept, default_stem="fetched").opened() as written:
        written.file.write(b"half of it")
        raise Failure("lost")
    assert kept.read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"kept.jpg", "fetched.webp"}


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="is a folder; name a file in it with -o"):
        write(tmp_path, b"x")
    with pytest.raises(Failure, match=r"nowhere/file cannot be written \(No such file or directory\); choose another with -o"):
        write(tmp_path / "nowhere" / "file", b"x")


def test_a_full_standard_output_is_one_line() -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom trenza.cli.errors import Failure\nfrom trenza.cli.outputs import Output\n"
        "try:\n    with Output(Path('-'), default_stem='x').opened() as written:\n        written.file.write(b'x' * 100)\n"
        "except Failure as failure:\n    sys.exit(str(failure))\n"
    )
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603 - our own code
    assert done.returncode == 1
    assert done.stderr == "- cannot be written (No space left on device); choose another with -o\n"


async def test_a_version_goes_through_a_pipe(
    trenza: Trenza, server: ServerProcess, make_photo: Callable[[str], Path], tmp_path: Path
) -> None:
    common = ("--url", server.url, "--data-dir", server.data_dir)
    put = await asyncio.to_thread(trenza, "photos", "put", make_photo("a.jpg"), "--upid", "UNP-1", *common)
    photo_id = put.stdout.splitlines()[1].split()[2]
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = asyncio.create_task(asyncio.to_thread(pipe.read_bytes))
    got = await asyncio.to_thread(trenza, "photos", "get", photo_id, "--version", "small", "-o", pipe, *common)
    assert (got.exit_code, got.stdout) == (0, "")
    assert (await reading).startswith(b"\xff\xd8\xff")


def test_waiting_for_a_server_is_said(trenza: Trenza, make_photo: Callable[[str], Path]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    result = trenza("photos", "put", make_photo("a.jpg"), "--upid", "A", "--url", url, "--token", "x")
    assert result.exit_code == 1
    assert f"trenza: waiting for {url} to answer" in result.stderr
