"""What is loaded when: importing a contract loads no framework, and the API process no heavy library."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"PIL", "alembic", "boto3", "botocore", "cv2", "cykooz_resizer", "numpy", "onnxruntime", "pi_heif", "pyvips"}
"""Hundreds of milliseconds, or many megabytes: for worker processes and commands only."""
FRAMEWORKS = {
    "aiohttp",
    "aiosqlite",
    "fastapi",
    "httpx",
    "obstore",
    "pydantic_settings",
    "sqlalchemy",
    "starlette",
    "structlog",
    "uvicorn",
}


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after a statement."""
    program = f"{statement}\nimport json, sys\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603 - our own interpreter
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("service", ["images", "photos"])
def test_a_contract_loads_no_framework(service: str) -> None:
    assert loaded_by(f"import trenza.services.{service}.contract") & (FRAMEWORKS | HEAVY) == set()


def test_the_names_for_authors_load_on_first_use() -> None:
    assert loaded_by("from trenza import Contract, Value, operation") & (FRAMEWORKS | HEAVY) == set()


def test_the_api_process_loads_no_heavy_library() -> None:
    assert loaded_by("import trenza.chassis.runtime.asgi") & HEAVY == set()


def test_this_test_would_see_one() -> None:
    assert loaded_by("import numpy") & HEAVY == {"numpy"}
