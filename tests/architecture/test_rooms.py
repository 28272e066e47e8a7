"""What import-linter cannot say: all that a contract may import, and where the ports of a service stand."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import grimp
import pytest

CONTRACT_LIBRARIES = {"pydantic", "pydantic_core", "typing_extensions", *sys.stdlib_module_names}
"""What a contract may load besides other contracts. typing_extensions comes with pydantic."""
ABOVE_PORTS = ("wiring", "routes", "tasks", "reactions", "service")
BELOW_PORTS = ("tables", "rules", "messages", "contract")
ROOMS = (*ABOVE_PORTS, "store", *BELOW_PORTS, "settings", "migrations")
SERVICES = "trenza.services."


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """All imports of the source, of type checking too."""
    return grimp.build_graph("trenza", include_external_packages=True, cache_dir=None)


def room_of(module: str) -> tuple[str, str] | None:
    """The service and the room to which a module belongs."""
    service, _, inside = module.removeprefix(SERVICES).partition(".")
    return (service, inside.split(".")[0]) if module.startswith(SERVICES) and inside else None


def heavy_contracts(graph: grimp.ImportGraph) -> Iterator[str]:
    """Imports of a contract, or of what contracts are made of, that are not the standard library, pydantic or a contract."""
    for module in sorted(graph.modules):
        room = room_of(module)
        of_chassis = f"{module}.".startswith("trenza.chassis.contract.")
        if not of_chassis and (room is None or room[1] != "contract"):
            continue
        for imported in sorted(graph.find_modules_directly_imported_by(module)):
            contract = room_of(imported)
            allowed = (
                imported in CONTRACT_LIBRARIES
                or f"{imported}.".startswith("trenza.chassis.contract.")
                or (not of_chassis and contract is not None and contract[1] == "contract")
            )
            if not allowed:
                yield f"{module} imports {imported}"


def misplaced_ports(graph: grimp.ImportGraph) -> Iterator[str]:
    """Imports that go up between a port (a room named after what it is: ``workers``, ``headers``) and the rooms around it."""
    for module in sorted(graph.modules):
        home = room_of(module)
        if home is None:
            continue
        for imported in sorted(graph.find_modules_directly_imported_by(module)):
            target = room_of(imported)
            if target is None or target[0] != home[0] or target == home:
                continue
            port_goes_up = home[1] not in ROOMS and target[1] in ABOVE_PORTS
            port_from_below = target[1] not in ROOMS and home[1] in BELOW_PORTS
            if port_goes_up or port_from_below:
                yield f"{module} imports {imported}"


def test_contracts_load_the_standard_library_and_pydantic_alone(graph: grimp.ImportGraph) -> None:
    assert list(heavy_contracts(graph)) == []


def test_ports_stand_between_service_and_rules(graph: grimp.ImportGraph) -> None:
    assert list(misplaced_ports(graph)) == []


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("trenza.services.harbour.contract", "fastapi"),
        ("trenza.services.harbour.contract", "orjson"),
        ("trenza.services.harbour.contract", "trenza"),
        ("trenza.services.harbour.contract", "trenza.chassis.clock"),
        ("trenza.services.harbour.contract", "trenza.services.harbour.messages"),
        ("trenza.services.harbour.contract.values", "trenza.services.photos.rules"),
        ("trenza.chassis.contract.values", "trenza.services.photos.contract"),
        ("trenza.chassis.contract.values", "trenza.chassis.context"),
        ("trenza.chassis.contract.values", "orjson"),
    ],
)
def test_a_heavy_contract_is_seen(importer: str, imported: str) -> None:
    assert list(heavy_contracts(graph_of((importer, imported)))) == [f"{importer} imports {imported}"]


@pytest.mark.parametrize(
    "imported",
    ["datetime", "pydantic", "trenza.chassis.contract", "trenza.services.photos.contract", "trenza.services.harbour.contract"],
)
def test_what_a_contract_may_import_is_not_held_against_it(imported: str) -> None:
    assert list(heavy_contracts(graph_of(("trenza.services.harbour.contract.values", imported)))) == []


@pytest.mark.parametrize(
    ("importer", "imported", "wrong"),
    [
        ("cranes.steam", "service", True),
        ("cranes.steam", "routes.public", True),
        ("cranes", "wiring", True),
        ("cranes", "tasks", True),
        ("rules", "cranes", True),
        ("contract", "cranes.steam", True),
        ("messages", "cranes", True),
        ("tables", "cranes", True),
        ("cranes", "rules", False),
        ("cranes", "settings", False),
        ("cranes.steam", "cranes.electric", False),
        ("cranes", "docks", False),
        ("service.loading", "cranes.steam", False),
        ("wiring", "cranes", False),
    ],
)
def test_a_port_in_the_wrong_place_is_seen(*, importer: str, imported: str, wrong: bool) -> None:
    importer, imported = f"{SERVICES}harbour.{importer}", f"{SERVICES}harbour.{imported}"
    expected = [f"{importer} imports {imported}"] if wrong else []
    assert list(misplaced_ports(graph_of((importer, imported)))) == expected


def graph_of(*imports: tuple[str, str]) -> grimp.ImportGraph:
    """A small graph, drawn by hand."""
    graph = grimp.ImportGraph()
    for importer, imported in imports:
        graph.add_import(importer=importer, imported=imported)
    return graph
