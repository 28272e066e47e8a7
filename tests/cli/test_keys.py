"""``trenza keys``: rotation in two steps, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import Result

from trenza.chassis.auth.key_files import KeyFiles
from trenza.chassis.auth.tokens import TokenVerifier
from trenza.chassis.settings import PlatformSettings

Trenza = Callable[..., Result]


def listed(trenza: Trenza, data: Path) -> dict[str, list[str]]:
    entries: list[dict[str, Any]] = json.loads(trenza("keys", "list", "--json", "--data-dir", data).stdout)
    return {role: [each["kid"] for each in entries if each["role"] == role] for role in ("signs", "next", "trusted")}


def test_a_rotation_keeps_old_tokens_until_their_key_is_revoked(trenza: Trenza, tmp_path: Path) -> None:
    now = 0.0
    old_token = trenza("token", "photos:viewer", "--data-dir", tmp_path).stdout.strip()
    keys = KeyFiles(*KeyFiles.places(PlatformSettings(data_dir=tmp_path)), monotonic=lambda: now)
    verifier = TokenVerifier(keys)
    old = listed(trenza, tmp_path)
    assert old["next"] == old["trusted"] == []

    rotated = trenza("keys", "rotate", "--settle", "0", "--data-dir", tmp_path)
    new = listed(trenza, tmp_path)
    assert rotated.stdout.startswith(f"{new['signs'][0]} signs now.")
    assert new["signs"] != old["signs"]
    assert sorted(new["trusted"]) == sorted(new["signs"] + old["signs"])
    new_token = trenza("token", "photos:viewer", "--data-dir", tmp_path).stdout.strip()
    now += 2
    assert verifier.verify(old_token) == verifier.verify(new_token)

    assert trenza("keys", "revoke", old["signs"][0], "--data-dir", tmp_path).exit_code == 0
    assert listed(trenza, tmp_path)["trusted"] == new["signs"]
    now += 2
    assert keys.find(old["signs"][0]) is None
    assert verifier.verify(new_token).scopes == ("photos:viewer",)


def test_the_key_that_signs_and_a_stranger_are_not_revoked(trenza: Trenza, tmp_path: Path) -> None:
    trenza("token", "photos:viewer", "--data-dir", tmp_path)
    signs = listed(trenza, tmp_path)["signs"][0]
    for kid, words in ((signs, "signs now; put another in its place first"), ("stranger", "no key is called 'stranger'")):
        refused = trenza("keys", "revoke", kid, "--data-dir", tmp_path)
        assert refused.exit_code == 1
        assert words in refused.stderr
        assert refused.stderr.count("\n") == 1


def test_a_trusted_file_that_holds_no_key_is_named(trenza: Trenza, tmp_path: Path) -> None:
    trenza("token", "photos:viewer", "--data-dir", tmp_path)
    (tmp_path / "keys" / "trusted").mkdir()
    (tmp_path / "keys" / "trusted" / "a.jwk").write_text("{}")
    refused = trenza("keys", "list", "--data-dir", tmp_path)
    assert refused.exit_code == 1
    assert "a.jwk: holds no public Ed25519 key" in refused.stderr
