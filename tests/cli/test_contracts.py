"""``trenza asyncapi`` and ``trenza contracts``: the documents are the committed ones, and keep what the last release promised."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

Trenza = Callable[..., Result]

_DOCS = Path(__file__).parents[2] / "docs"
_EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("kind", ["asyncapi", "contracts"])
def test_the_committed_document_is_what_the_code_says(trenza: Trenza, kind: str) -> None:
    printed = trenza(kind)
    assert printed.exit_code == 0
    assert (_DOCS / f"{kind}.json").read_text("utf-8") == printed.stdout, "print it anew: make docs"


@pytest.mark.parametrize("kind", ["asyncapi", "contracts"])
def test_what_was_released_is_kept(trenza: Trenza, kind: str) -> None:
    """See CONTRIBUTING, *Contracts and calls*, for what to do about a line that this shows."""
    compared = trenza(kind, "--against", _DOCS / f"{kind}.released.json")
    assert compared.exit_code == 0, compared.stdout


def test_services_of_others_are_in_the_document_of_their_deployment(trenza: Trenza) -> None:
    printed = trenza("asyncapi", "--deployment", _EXAMPLES / "inspections" / "deployment.toml")
    document = json.loads(printed.stdout)
    assert document["operations"]["inspections.announces"]["action"] == "send"
    assert document["operations"]["inspections.photos.photos.PhotoCompleted"]["x-consumer"] == "photos"


def test_an_operation_that_is_gone_is_listed_and_fails(trenza: Trenza, tmp_path: Path) -> None:
    old = json.loads(trenza("contracts").stdout)
    images = old["services"]["images"]["operations"]
    images["rotate"] = images["render"]
    (tmp_path / "old.json").write_text(json.dumps(old))
    compared = trenza("contracts", "--against", tmp_path / "old.json")
    assert (compared.exit_code, compared.stdout) == (1, "breaking  images.rotate: the operation is gone\n")


def _more_was_promised(document: Any) -> None:
    uploaded = document["components"]["schemas"]["PhotoUploaded"]
    uploaded["properties"]["camera"] = {"type": "string"}
    uploaded["required"].append("camera")


def _less_was_taken(document: Any) -> None:
    document["components"]["schemas"]["PhotoUploaded"]["properties"]["bytes"]["maximum"] = 9


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (_more_was_promised, 1, "breaking  photos.PhotoUploaded.camera: it is gone\n"),
        (_less_was_taken, 0, "careful   photos.PhotoUploaded.bytes: old code wants maximum 9\nnothing breaks\n"),
    ],
)
def test_what_breaks_is_listed_and_fails(
    trenza: Trenza, tmp_path: Path, change: Callable[[Any], None], code: int, said: str
) -> None:
    old = json.loads(trenza("asyncapi").stdout)
    change(old)
    (tmp_path / "old.json").write_text(json.dumps(old))
    compared = trenza("asyncapi", "--against", tmp_path / "old.json")
    assert (compared.exit_code, compared.stdout) == (code, said)


@pytest.mark.parametrize("kind", ["asyncapi", "contracts"])
@pytest.mark.parametrize(("text", "reason"), [("{", "is no JSON"), ("{}", "no document"), (None, "cannot be read")])
def test_what_is_no_document_is_refused_in_a_line(
    *, trenza: Trenza, tmp_path: Path, kind: str, text: str | None, reason: str
) -> None:
    if text is not None:
        (tmp_path / "old.json").write_text(text)
    compared = trenza(kind, "--against", tmp_path / "old.json")
    assert compared.exit_code == 1
    assert reason in compared.stderr
    assert compared.stderr.count("\n") == 1
