from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from trenza.chassis.settings import InvalidSettings, PlatformSettings, UnsafeSettings, load_settings


class ParcelSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="TRENZA_PARCELS_", frozen=True)

    api_key: SecretStr = SecretStr("")
    limit: int = 5
    sizes: tuple[int, ...] = (1, 2)


def test_defaults_need_no_environment() -> None:
    settings = load_settings(PlatformSettings)
    assert settings.environment == "development"
    assert settings.unsafe_for_production() == ()
    settings.refuse_unsafe(("a service's problem counts in production only",))


def test_the_customary_names_work_and_the_prefixed_ones_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ORIGINS", "https://a.example, https://b.example,")
    monkeypatch.setenv("PROMETHEUS_ENABLED", "false")
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("TRENZA_ENVIRONMENT", "development")
    settings = load_settings(PlatformSettings)
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.prometheus_enabled is False
    assert settings.environment == "development"


def test_each_bad_variable_is_one_line_with_its_name_problem_and_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRENZA_DRAIN_SECONDS", "soon")
    monkeypatch.setenv("ENVIRONMENT", "prod")
    monkeypatch.setenv("TRENZA_PUBLIC_URL", "example.com")
    monkeypatch.setenv("TRENZA_BLOBS_URL", "ftp://elsewhere")
    with pytest.raises(InvalidSettings) as refusal:
        load_settings(PlatformSettings)
    problems = refusal.value.problems
    assert len(problems) == 4
    assert all("\n" not in problem for problem in problems)
    assert any(p.startswith("ENVIRONMENT is 'prod': input should be 'development' or 'production'; correct it") for p in problems)
    assert any(p.startswith("TRENZA_DRAIN_SECONDS is 'soon'") and "unset it for the default (25.0)" in p for p in problems)
    assert any(p.startswith("TRENZA_PUBLIC_URL is 'example.com': must be an http:// or https:// address") for p in problems)
    assert any(p.startswith("TRENZA_BLOBS_URL is 'ftp://elsewhere': must be s3://bucket/prefix") for p in problems)


def test_a_value_that_is_no_json_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRENZA_PARCELS_SIZES", "1,2")
    with pytest.raises(InvalidSettings, match=r"TRENZA_PARCELS_SIZES is '1,2': is not JSON"):
        load_settings(ParcelSettings)


def test_secrets_are_never_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRENZA_PUBLIC_URL", "postgres://user:hunter2@host")
    with pytest.raises(InvalidSettings) as refusal:
        load_settings(PlatformSettings)
    assert "hunter2" not in str(refusal.value)


def test_secrets_come_from_files_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "TRENZA_PARCELS_API_KEY").write_text("from a file\n")
    (tmp_path / "TRENZA_PARCELS_LIMIT").write_text("7")
    monkeypatch.setenv("TRENZA_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("TRENZA_PARCELS_LIMIT", "9")
    settings = load_settings(ParcelSettings)
    assert settings.api_key.get_secret_value() == "from a file"
    assert settings.limit == 9


def test_a_folder_of_secrets_that_is_missing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRENZA_SECRETS_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(InvalidSettings, match=r"TRENZA_SECRETS_DIR names .*nowhere, which is no folder"):
        load_settings(ParcelSettings)


def test_production_lists_everything_unsafe_at_once(tmp_path: Path) -> None:
    settings = PlatformSettings(
        environment="production",
        cors_origins=("*",),
        blobs_secret=SecretStr("short"),
        signing_key_file=tmp_path / "absent.pem",
    )
    with pytest.raises(UnsafeSettings) as refusal:
        settings.refuse_unsafe(("TRENZA_PARCELS_API_KEY is not set: set it",))
    said = str(refusal.value)
    assert len(refusal.value.problems) == 5
    for variable in (
        "TRENZA_SIGNING_KEY_FILE",
        "TRENZA_BLOBS_SECRET",
        "TRENZA_PUBLIC_URL",
        "CORS_ORIGINS",
        "TRENZA_PARCELS_API_KEY",
    ):
        assert variable in said


def test_production_with_everything_named_is_accepted(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text("a key")
    settings = PlatformSettings(
        environment="production", signing_key_file=key, blobs_secret=SecretStr("x" * 32), public_url="https://photos.example/"
    )
    settings.refuse_unsafe()
    assert settings.public_url == "https://photos.example"
