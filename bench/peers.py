"""Environments of their own for what we are compared with: its dependencies stay out of ours."""

from __future__ import annotations

import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from shutil import rmtree

__all__ = ["environment"]

_HERE = Path(__file__).parent
_FOLDER = _HERE.parent / ".bench"


def environment(name: str) -> Path:
    """The Python of a virtual environment that holds ``bench/requirements/NAME.txt``; made when it is new or has changed."""
    wanted = _HERE / "requirements" / f"{name}.txt"
    folder = _FOLDER / name
    python, stamp = folder / "bin" / "python", folder / "installed"
    state = sha256(wanted.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != state:
        print(f"installing {wanted.relative_to(_HERE.parent)} …", file=sys.stderr)
        rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)  # noqa: S603 - our own interpreter
        install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", str(wanted))
        subprocess.run([str(python), *install], check=True)  # noqa: S603 - the interpreter made above
        stamp.write_text(state)
    return python
