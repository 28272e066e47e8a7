"""``trenza keys``: which keys sign and are trusted, and how another takes their place without a refused call."""

# ruff: noqa: PLC0415 - every command imports what it needs when it runs, so that `trenza --help` stays instant

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trenza.cli.options import AsJson, DataDir, read_settings

if TYPE_CHECKING:
    from trenza.chassis.settings import PlatformSettings

__all__ = ["app"]

app = typer.Typer(help="The keys that sign tokens: list them, rotate them, revoke one.", no_args_is_help=True)


def _places(data_dir: Path | None) -> tuple[Path, Path]:
    """The signing key and the folder of trusted ones, once there is a signing key."""
    from trenza.chassis.auth.key_files import KeyFiles
    from trenza.chassis.runtime.signing import signing_key

    settings: PlatformSettings = read_settings(data_dir)
    signing_key(settings)
    return KeyFiles.places(settings)


@app.command("list")
def show(data_dir: DataDir = None, *, as_json: AsJson = False) -> None:
    """Show each key: its name, whether it signs, is next or trusted, and its file."""
    from trenza.chassis.auth.rotation import entries
    from trenza.cli.tables import print_json, print_table

    found = list(entries(*_places(data_dir)))
    if as_json:
        print_json([{"kid": entry.kid, "role": entry.role, "file": str(entry.path)} for entry in found])
    else:
        print_table(("KEY", "ROLE", "FILE"), [(entry.kid, entry.role, str(entry.path)) for entry in found], empty="no keys")


@app.command()
def rotate(
    data_dir: DataDir = None,
    settle: Annotated[
        float | None, typer.Option(min=0, help="Seconds between publishing the key and signing with it (else 5).")
    ] = None,
) -> None:
    """Sign with a new key. All processes that see the key files learn of it first, so that nobody meets an unknown key."""
    import time

    from trenza.chassis.auth import rotation

    signing, trusted = _places(data_dir)
    following = rotation.publish_next(signing, trusted)
    seconds = rotation.SETTLE_SECONDS if settle is None else settle
    typer.echo(f"{following.kid} is published; waiting {seconds:g} s until every process trusts it", err=True)
    time.sleep(seconds)
    rotation.sign_with_next(signing)
    typer.echo(f"{following.kid} signs now. The keys before it stay trusted; when their tokens have expired, revoke them.")


@app.command()
def revoke(
    kid: Annotated[str, typer.Argument(metavar="KEY", help="Its name, as `list` shows it.")], data_dir: DataDir = None
) -> None:
    """Trust a key no longer: its tokens are refused within seconds."""
    from trenza.chassis.auth import rotation

    for path in rotation.revoke(kid, *_places(data_dir)):
        typer.echo(f"removed {path}")
