from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from trenza.cli.commands import app

_PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_page_of_settings_is_what_the_code_says() -> None:
    printed = CliRunner().invoke(app, ["settings", "--markdown"])
    assert printed.exit_code == 0
    assert _PAGE.read_text("utf-8") == printed.stdout, "print it anew: make docs"


def test_every_setting_has_a_meaning() -> None:
    rows = [line.split(" | ") for line in _PAGE.read_text("utf-8").splitlines() if line.startswith("| `")]
    assert rows
    assert [row[0] for row in rows if not row[2].strip(" |")] == []
