"""Whether what one JSON Schema writes can be read by another: for the schemas that pydantic makes of values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

__all__ = ["Reading", "as_draft_7"]

_SAID: Final = {
    "$ref",
    "anyOf",
    "oneOf",
    "allOf",
    "enum",
    "const",
    "type",
    "properties",
    "required",
    "items",
    "additionalProperties",
}
"""Keywords that `Reading` looks into."""
_SILENT: Final = {
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "discriminator",
    "$comment",
}
"""Keywords that refuse nothing."""
_AT_LEAST: Final = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}
_AT_MOST: Final = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}
_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}


class Reading:
    """A reader of one document's schemas meets what was written by another's. ``$ref`` is looked up in each one's own document.

    ``gone`` tells about fields as well that the reader does not know: what they hold would be lost. ``may_lack`` says that an
    optional field may be missing in what was written; who writes with pydantic writes all of its own.
    """

    def __init__(self, written: Any, read: Any, *, reader: str, gone: bool, may_lack: bool) -> None:
        self._written = written
        self._read = read
        self._reader = reader
        self._gone = gone
        self._may_lack = may_lack
        self._walked: set[tuple[str, str]] = set()

    def refusals(self, written: Any, read: Any, path: str) -> Iterator[str]:
        """A line for each reason why the reader may refuse something; they begin with the path of the field."""
        pair = (_reference(written), _reference(read))
        if all(pair):
            if pair in self._walked:  # a value that holds values of its own kind
                return
            self._walked.add(pair)
        try:
            taken = _alternatives(self._read, read)
            for each in _alternatives(self._written, written):
                for single in _single_values(each):
                    yield from self._refused_by_all(single, taken, path)
        finally:
            self._walked.discard(pair)

    def _refused_by_all(self, written: dict[str, Any], taken: list[dict[str, Any]], path: str) -> list[str]:
        verdicts = [list(self._compare(written, each, path)) for each in taken]
        if not all(verdicts):
            return []
        alike = [verdict for verdict, each in zip(verdicts, taken, strict=True) if each.get("type") == written.get("type")]
        if "enum" not in written and len(alike) == 1:  # what differs inside says more than that it differs
            return alike[0]
        return [f"{path}: {self._reader} does not take {_words(written)}"]

    def _compare(self, written: dict[str, Any], read: dict[str, Any], path: str) -> Iterator[str]:
        """One alternative against another."""
        if "enum" in written:
            if not _takes(read, written["enum"][0]):
                yield f"{path}: {self._reader} does not take {_words(written)}"
        elif "enum" in read:
            yield f"{path}: {self._reader} takes {', '.join(map(repr, read['enum']))} only"
        elif "type" in read and not _is_kind(written.get("type"), read["type"]):
            yield f"{path}: {self._reader} does not take {_words(written)}"
        else:
            yield from self._limits(written, read, path)
            yield from self._fields(written, read, path)
            yield from self._items(written, read, path)

    def _limits(self, written: dict[str, Any], read: dict[str, Any], path: str) -> Iterator[str]:
        for name, wanted in read.items():
            had = written.get(name)
            if name in _SAID | _SILENT or had == wanted:
                continue
            if had is not None and ((name in _AT_LEAST and wanted <= had) or (name in _AT_MOST and wanted >= had)):
                continue
            yield f"{path}: {self._reader} wants {name} {wanted}" + ("" if had is None else f" instead of {had}")

    def _fields(self, written: dict[str, Any], read: dict[str, Any], path: str) -> Iterator[str]:
        had, known = written.get("properties", {}), read.get("properties", {})
        for name in read.get("required", ()):
            if name not in had:
                yield f"{path}.{name}: {self._reader} requires it, and it was never written"
            elif self._may_lack and name not in written.get("required", ()):
                yield f"{path}.{name}: {self._reader} requires it, and it may be missing"
        for name, schema in had.items():
            if name in known:
                yield from self.refusals(schema, known[name], f"{path}.{name}")
            elif self._gone:
                yield f"{path}.{name}: it is gone"
            elif read.get("additionalProperties") is False:
                yield f"{path}.{name}: {self._reader} refuses fields that it does not know"
        others, accepted = written.get("additionalProperties"), read.get("additionalProperties")
        if isinstance(others, dict) and isinstance(accepted, dict):
            yield from self.refusals(others, accepted, f"{path}.*")

    def _items(self, written: dict[str, Any], read: dict[str, Any], path: str) -> Iterator[str]:
        had, known = written.get("items"), read.get("items")
        if had is None or known is None:
            return
        if isinstance(had, dict) and isinstance(known, dict):
            yield from self.refusals(had, known, f"{path}[]")
            return
        places = max(len(each) for each in (had, known) if isinstance(each, list))
        for place in range(places):  # where one is shorter, their numbers of items differ, which `_limits` has told
            pair = [
                each if isinstance(each, dict) else each[place]
                for each in (had, known)
                if isinstance(each, dict) or place < len(each)
            ]
            if len(pair) == 2:  # noqa: PLR2004 - both of them
                yield from self.refusals(pair[0], pair[1], f"{path}[{place}]")


def as_draft_7(schema: Any) -> Any:
    """The same schema in the words of JSON Schema's draft 7, which AsyncAPI's own has and `Reading` understands.

    That is ``items`` for ``prefixItems``, and no ``discriminator``: AsyncAPI's is of another form, and the alternatives say it.
    """
    if isinstance(schema, list):
        return [as_draft_7(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        ("items" if name == "prefixItems" and isinstance(part, list) else name): as_draft_7(part)
        for name, part in schema.items()
        if not (name == "discriminator" and "propertyName" in part)
    }


def _reference(schema: Any) -> str:
    return str(schema.get("$ref", "")) if isinstance(schema, dict) else ""


def _resolved(document: Any, schema: Any) -> dict[str, Any]:
    """The schema itself, where it is a reference to another place of its document."""
    if not isinstance(schema, dict):  # true: anything
        return {}
    found: dict[str, Any] = schema
    while "$ref" in found:
        at = document
        for step in str(found["$ref"]).removeprefix("#/").split("/"):
            at = at[step]
        found = at
    if len(found.get("allOf", ())) == 1:
        return {**_resolved(document, found["allOf"][0]), **{name: part for name, part in found.items() if name != "allOf"}}
    return found


def _alternatives(document: Any, schema: Any) -> list[dict[str, Any]]:
    """What a value may be, one schema for each possibility; a constant is a list of one value."""
    schema = _resolved(document, schema)
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            return [each for part in schema[keyword] for each in _alternatives(document, part)]
    if isinstance(schema.get("type"), list):
        return [{**schema, "type": each} for each in schema["type"]]
    if "const" in schema:
        return [{**{name: part for name, part in schema.items() if name != "const"}, "enum": [schema["const"]]}]
    return [schema]


def _single_values(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Each listed value by itself: the reader's alternatives may share them out among them."""
    return [{**schema, "enum": [value]} for value in schema["enum"]] if "enum" in schema else [schema]


def _takes(read: dict[str, Any], value: Any) -> bool:
    if "enum" in read:
        return any(value == each and type(value) is type(each) for each in read["enum"])
    return "type" not in read or (
        isinstance(value, _KINDS[read["type"]]) and (isinstance(value, bool) == (read["type"] == "boolean"))
    )


def _is_kind(written: str | None, read: str) -> bool:
    return written == read or (written, read) == ("integer", "number")


def _words(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return repr(schema["enum"][0])
    kind = schema.get("type", "just anything")
    return f"{kind} ({schema['format']})" if "format" in schema else str(kind)
