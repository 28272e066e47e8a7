"""Options that several commands share, and the settings that follow from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from trenza.cli.errors import UsageFailure

if TYPE_CHECKING:
    from trenza.chassis.settings import PlatformSettings

__all__ = ["AsJson", "DataDir", "DeploymentName", "ServiceName", "Yes", "id_shown_by", "read_settings"]

DataDir = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder of the embedded defaults (else TRENZA_DATA_DIR, else trenza-data)."),
]
DeploymentName = Annotated[
    str, typer.Option(metavar="NAME|FILE", envvar="TRENZA_DEPLOYMENT", help="A deployment that ships, or the path of a .toml.")
]
ServiceName = Annotated[str | None, typer.Option("--service", metavar="NAME", help="Only this service's.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
_SHOWN = 40
"""Characters of an argument that is quoted."""
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def id_shown_by(command: str) -> Callable[[str], UUID]:
    """A parser of ids, which raises `UsageFailure` and names the command that shows them whole."""

    def read(text: str) -> UUID:
        try:
            return UUID(text)
        except ValueError:
            shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
            raise UsageFailure(
                f"ID is {shown!r}, which is no whole id: one has 36 characters, as `{command}` shows them"
            ) from None

    return read


def read_settings(data_dir: Path | None, **overrides: Any) -> PlatformSettings:
    """The platform's settings, with the command line before the environment. Raises `InvalidSettings`.

    Log lines of this process go to standard error from here on, and only those that warn: a command prints its result itself.
    """
    from trenza.chassis.settings import PlatformSettings, load_settings  # noqa: PLC0415 - keeps `trenza --help` instant
    from trenza.chassis.telemetry.logs import configure_logging  # noqa: PLC0415

    settings = load_settings(PlatformSettings, **({} if data_dir is None else {"data_dir": data_dir}), **overrides)
    configure_logging(settings.model_copy(update={"log_level": "warning"}))
    return settings
