"""Environments of their own for what we are compared with: its dependencies stay out of ours."""

from __future__ import annotations

import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from shutil import rmtree, which

__all__ = ["environment", "node_modules"]

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


def node_modules(name: str) -> tuple[str, Path]:
    """Node, and a folder that holds the packages of ``bench/requirements/NAME.json``; made when it is new or has changed.

    Raises FileNotFoundError where there is no Node or no npm.
    """
    node, npm = which("node"), which("npm")
    if node is None or npm is None:
        raise FileNotFoundError("Node and npm are not installed")
    wanted = _HERE / "requirements" / f"{name}.json"
    folder = _FOLDER / name
    stamp = folder / "installed"
    state = sha256(wanted.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != state:
        print(f"installing {wanted.relative_to(_HERE.parent)} …", file=sys.stderr)
        rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "package.json").write_bytes(wanted.read_bytes())
        install = (npm, "install", "--silent", "--no-audit", "--no-fund", "--no-package-lock")
        subprocess.run(install, check=True, cwd=folder)  # noqa: S603 - a fixed program
        stamp.write_text(state)
    return node, folder / "node_modules"
