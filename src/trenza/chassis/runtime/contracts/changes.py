"""What a change of contracts breaks: callers that were written against the old one, and callees that are still the old one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trenza.chassis.runtime.asyncapi.changes import Changes, NoDocument
from trenza.chassis.runtime.asyncapi.schemas import Reading, as_draft_7
from trenza.chassis.runtime.contracts.document import FORMAT

__all__ = ["changes_between_contracts"]


def changes_between_contracts(old: Any, new: Any) -> Changes:
    """Compare two documents that `describe_contracts` has made. Raises `NoDocument`.

    ``breaking`` is what callers of the last release meet: an operation or a parameter that is gone, a parameter that they do not
    send, a result or an error that they do not know, an idempotence that they retry by. ``careful`` is what matters while
    releases overlap, or only to how a call ends: release the callee before its callers.
    """
    before, after = _services(old), _services(new)
    breaking: list[str] = []
    careful: list[str] = []
    for name, was in sorted(before.items()):
        now = after.get(name)
        if now is None:
            breaking.append(f"{name}: the service is gone")
            continue
        for operation in sorted(was["operations"]):
            where = f"{name}.{operation}"
            if operation not in now["operations"]:
                breaking.append(f"{where}: the operation is gone")
                continue
            breaking += _broken(was, now, operation, where)
            careful += _delicate(was, now, operation, where)
    said = {line.partition(":")[0] for line in breaking}
    return Changes(tuple(breaking), tuple(line for line in careful if line.partition(":")[0] not in said))


def _services(document: Any) -> dict[str, Any]:
    """The services of a document, in the words that `Reading` understands."""
    if not isinstance(document, dict) or document.get("format") != FORMAT or not isinstance(document.get("services"), dict):
        raise NoDocument("it is no document that `trenza contracts` has printed")
    services: dict[str, Any] = as_draft_7(document["services"])
    members = {"parameters", "defaults", "result", "errors", "idempotent", "timeout"}
    for service in services.values():
        operations = service.get("operations") if isinstance(service, dict) and "$defs" in service else None
        if not isinstance(operations, dict) or not all(
            isinstance(each, dict) and members <= each.keys() for each in operations.values()
        ):
            raise NoDocument("it is no document that `trenza contracts` has printed")
    return services


def _broken(was: Any, now: Any, operation: str, where: str) -> Iterator[str]:
    """What callers of the old contract meet."""
    old, new = was["operations"][operation], now["operations"][operation]
    asked = Reading(was, now, reader="the callee", gone=True, may_lack=True)
    yield from asked.refusals(old["parameters"], new["parameters"], f"{where}()")
    answered = Reading(now, was, reader="an old caller", gone=False, may_lack=False)
    yield from answered.refusals(new["result"], old["result"], where)
    for code in sorted(set(new["errors"]) - set(old["errors"])):
        yield f"{where} errors: old callers do not know {code}, and see a failed call"
    if old["idempotent"] and not new["idempotent"]:
        yield f"{where} idempotent: it was, and old callers still repeat it"


def _delicate(was: Any, now: Any, operation: str, where: str) -> Iterator[str]:
    """What new callers of an old callee meet, and what changes for nobody's types."""
    old, new = was["operations"][operation], now["operations"][operation]
    asked = Reading(now, was, reader="an old callee", gone=False, may_lack=True)
    yield from asked.refusals(new["parameters"], old["parameters"], f"{where}()")
    answered = Reading(was, now, reader="a new caller", gone=False, may_lack=True)
    yield from answered.refusals(old["result"], new["result"], where)
    if new["timeout"] < old["timeout"]:
        yield f"{where} timeout: {old['timeout']:g} s became {new['timeout']:g} s"
    for name in sorted(old["defaults"].keys() & new["defaults"].keys()):
        if old["defaults"][name] != new["defaults"][name]:
            yield f"{where}() {name}: old callers go on sending the old default {old['defaults'][name]!r}"
