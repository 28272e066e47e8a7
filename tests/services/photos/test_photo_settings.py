"""The settings of photos: defaults of the specification, and refusals that say what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trenza.chassis.settings import InvalidSettings, load_settings
from trenza.services.photos.settings import PhotosSettings


def test_the_defaults_are_those_of_the_specification() -> None:
    settings = load_settings(PhotosSettings)
    assert settings.max_file_bytes == 50 * 1024 * 1024
    assert settings.max_files == 20
    assert [(preset.name, preset.width, preset.height, preset.fit, preset.quality) for preset in settings.presets] == [
        ("thumbnail", 320, 320, "cover", 75),
        ("small", 640, 640, "inside", 75),
        ("medium", 1280, 1280, "inside", 72),
        ("large", 2048, 2048, "inside", 82),
    ]


@pytest.mark.parametrize(
    ("presets", "words"),
    [
        ([], "presets is empty"),
        ([{"name": "original", "width": 9, "height": 9}], "must differ"),
        ([{"name": "a", "width": 9, "height": 9}, {"name": "a", "width": 8, "height": 8}], "must differ"),
        ([{"name": "../a", "width": 9, "height": 9}], "pattern"),
        ([{"name": "a", "width": 0, "height": 9}], "greater than"),
        ([{"name": "a", "width": 9, "height": 9, "qualty": 3}], "extra inputs"),
    ],
)
def test_bad_presets_are_refused(monkeypatch: pytest.MonkeyPatch, presets: list[object], words: str) -> None:
    monkeypatch.setenv("TRENZA_PHOTOS_PRESETS", json.dumps(presets))
    with pytest.raises(InvalidSettings, match=words):
        load_settings(PhotosSettings)


def test_an_unknown_time_zone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRENZA_PHOTOS_TIMEZONE", "America/Nowhere")
    with pytest.raises(InvalidSettings, match="America/Bogota"):
        load_settings(PhotosSettings)


def test_production_needs_a_secret_for_webhooks(monkeypatch: pytest.MonkeyPatch) -> None:
    for secret, words in ((None, "WEBHOOK_SECRET is not set"), ("short", "WEBHOOK_SECRET is shorter than 32")):
        if secret is not None:
            monkeypatch.setenv("TRENZA_PHOTOS_WEBHOOK_SECRET", secret)
        [problem] = load_settings(PhotosSettings).unsafe_for_production()
        assert words in problem
    monkeypatch.setenv("TRENZA_PHOTOS_WEBHOOK_SECRET", "x" * 32)
    assert load_settings(PhotosSettings).unsafe_for_production() == ()


def test_what_webhooks_may_reach_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRENZA_PHOTOS_WEBHOOK_ALLOW", "hooks.internal, 10.0.0.0/8")
    assert load_settings(PhotosSettings).webhook_allow == ("hooks.internal", "10.0.0.0/8")
    monkeypatch.setenv("TRENZA_PHOTOS_WEBHOOK_ALLOW", "10.0.0.0/99")
    with pytest.raises(InvalidSettings, match="neither a host name nor a network"):
        load_settings(PhotosSettings)


def test_the_authorities_of_webhooks_must_be_certificates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for content in (None, "no certificate"):
        if content is not None:
            (tmp_path / "ca.pem").write_text(content)
        monkeypatch.setenv("TRENZA_PHOTOS_WEBHOOK_CA_FILE", str(tmp_path / "ca.pem"))
        with pytest.raises(InvalidSettings, match="cannot be read as certificates in PEM"):
            load_settings(PhotosSettings)
