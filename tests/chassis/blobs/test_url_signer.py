"""What signs local URLs, against made-up and changed signatures, and the secret that processes share."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trenza.chassis.blobs.signatures import InvalidSignature, UrlSigner, load_or_create_secret
from trenza.chassis.testing.clock import ManualClock

MINUTE = timedelta(minutes=1)
SIGNER = UrlSigner(b"s" * 32, public_url="https://x.example", clock=ManualClock())
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(key=TEXT, expires=st.integers(0, 10**12).map(str) | TEXT, signature=TEXT, name=st.none() | TEXT)
def test_nothing_made_up_is_accepted(key: str, expires: str, signature: str, name: str | None) -> None:
    with pytest.raises(InvalidSignature):
        SIGNER.verify(method="GET", key=key, expires=expires, signature=signature, download_name=name)


@given(st.data())
def test_no_change_to_a_signature_is_accepted(data: st.DataObject) -> None:
    params = httpx.URL(SIGNER.url("a/b.jpg", method="GET", expires_in=MINUTE, download_name="n")).params
    signature = params["signature"]
    position = data.draw(st.integers(0, len(signature)))
    length = data.draw(st.integers(0, 3))
    changed = signature[:position] + data.draw(TEXT) + signature[position + length :]

    def verify(candidate: str) -> timedelta:
        return SIGNER.verify(method="GET", key="a/b.jpg", expires=params["expires"], signature=candidate, download_name="n")

    if changed == signature:
        assert verify(changed) == MINUTE
    else:
        with pytest.raises(InvalidSignature):
            verify(changed)


def test_processes_that_start_together_agree_on_a_secret(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "blobs.secret"
    script = (
        "import sys; from pathlib import Path; from trenza.chassis.blobs.signatures import load_or_create_secret as load\n"
        "sys.stdin.readline(); print(load(Path(sys.argv[1])).decode())"
    )
    command = [sys.executable, "-c", script, str(path)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own script
        for _ in range(6)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    secrets = {process.communicate()[0] for process in processes}
    assert secrets == {load_or_create_secret(path).decode() + "\n"}
    assert [file.name for file in path.parent.iterdir()] == ["blobs.secret"]


def test_a_damaged_secret_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "blobs.secret"
    path.write_text("cut off")
    with pytest.raises(ValueError, match="delete it"):
        load_or_create_secret(path)
