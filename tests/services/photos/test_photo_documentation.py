"""The OpenAPI document of photos: whole, so that every tool can read it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.services.photos.conftest import Platform


def references_in(part: Any) -> Iterator[str]:
    """Every ``$ref``, wherever it stands."""
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from references_in(value)
    elif isinstance(part, list):
        for value in part:
            yield from references_in(value)


async def test_every_reference_leads_somewhere(platform: Platform) -> None:
    document = (await platform.http.get("/openapi.json")).json()
    references = set(references_in(document))
    assert len(references) > 10
    for reference in references:
        anchor, *names = reference.split("/")
        assert anchor == "#", reference
        assert reduce(lambda found, name: found.get(name, {}), names, document), reference


async def test_every_route_says_what_it_is_and_how_it_refuses(platform: Platform) -> None:
    document = (await platform.http.get("/openapi.json")).json()
    operations = [
        (f"{method} {path}", operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if "photos" in operation.get("tags", ())
    ]
    assert len(operations) > 14
    for name, operation in operations:
        assert operation["summary"], name
        assert operation["description"], name
        assert {"401", "403"} <= operation["responses"].keys(), name
        if name.startswith("post") and not name.endswith("/retry"):
            assert "422" in operation["responses"], name
        if name.startswith("post"):
            assert "Idempotency-Key" in {parameter["name"] for parameter in operation.get("parameters", ())}, name
