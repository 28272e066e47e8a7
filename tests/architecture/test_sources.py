"""The shape of the source: short files, plain names, one sentence that says what each owns."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import trenza

SOURCE = Path(trenza.__file__).parent
FILES = sorted(path for path in SOURCE.rglob("*.py") if "__pycache__" not in path.parts)
LONGEST = 300
EMPTY_WORDS = {"common", "helper", "helpers", "manager", "managers", "misc", "util", "utilities", "utils"}
"""Names that say nothing of what a module owns. `common` and `misc` are where things go that nobody found a place for."""


def too_long(text: str) -> bool:
    return len(text.splitlines()) > LONGEST


def empty_words(path: Path) -> set[str]:
    return {word for part in path.with_suffix("").parts for word in re.split(r"_+", part.lower())} & EMPTY_WORDS


def empty_class_names(text: str) -> list[str]:
    names = [node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)]
    return [name for name in names if re.search(r"(Manager|Helper|Utils?)(?![a-z])", name)]


def test_there_is_source() -> None:
    assert len(FILES) > 50


def test_no_file_outgrows_a_screenful_of_scrolling() -> None:
    assert [str(path.relative_to(SOURCE)) for path in FILES if too_long(path.read_text())] == []


def test_no_module_is_named_after_nothing() -> None:
    assert [str(path.relative_to(SOURCE)) for path in FILES if empty_words(path.relative_to(SOURCE))] == []


def test_no_class_is_named_after_nothing() -> None:
    assert [f"{path.relative_to(SOURCE)}: {name}" for path in FILES for name in empty_class_names(path.read_text())] == []


def test_the_packages_of_services_are_empty() -> None:
    """Importing a contract runs ``services/x/__init__.py`` first."""
    starts = [*SOURCE.glob("services/__init__.py"), *SOURCE.glob("services/*/__init__.py")]
    assert len(starts) >= 3
    assert [str(path.relative_to(SOURCE)) for path in starts if path.read_text().strip()] == []


def test_every_module_says_what_it_owns() -> None:
    silent = [
        str(path.relative_to(SOURCE))
        for path in FILES
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


@pytest.mark.parametrize(("text", "long"), [("x\n" * LONGEST, False), ("x\n" * (LONGEST + 1), True)])
def test_a_long_file_is_seen(text: str, *, long: bool) -> None:
    assert too_long(text) is long


@pytest.mark.parametrize("name", ["utils.py", "data/helpers.py", "image_utils.py", "common/values.py", "Manager.py"])
def test_an_empty_name_is_seen(name: str) -> None:
    assert empty_words(Path(name))


@pytest.mark.parametrize("name", ["store.py", "utility_bills.py", "services/photos/rules.py"])
def test_a_name_that_says_something_is_not_held_against_it(name: str) -> None:
    assert not empty_words(Path(name))


def test_an_empty_class_name_is_seen() -> None:
    assert empty_class_names("class PhotoManager: ...\nclass HelperBase: ...\nclass Managers: ...\nclass Store: ...") == [
        "PhotoManager",
        "HelperBase",
    ]
