from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from trenza.chassis.runtime.deployment import DeploymentError, read_deployment, shipped_deployments
from trenza.chassis.runtime.loading import load_services


def written(folder: Path, text: str) -> str:
    file = folder / "mine.toml"
    file.write_text(text)
    return str(file)


def test_the_monolith_ships_and_has_one_process() -> None:
    assert "monolith" in shipped_deployments()
    deployment = read_deployment("monolith")
    assert deployment.process(deployment.only_process()).services == ("photos", "images")
    assert deployment.services == ("photos", "images")


def test_a_file_of_ones_own_is_read_by_its_path(tmp_path: Path) -> None:
    deployment = read_deployment(written(tmp_path, '[processes.api]\nservices = ["images"]\n'))
    assert deployment.name == "mine"
    assert deployment.services == ("images",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r'processes: missing; write \[processes.all\] with services = \["photos", "images"\]'),
        ('processes = "all"', "processes: is 'all'; write a list of names"),
        ("[processes]", "processes: is empty; name at least one"),
        ("[processes.all]", r"processes.all.services: missing; write \[processes.all\]"),
        ("[processes.all]\nservices = []", "processes.all.services: is empty; name at least one"),
        ('[processes.all]\nservices = "photos"', "processes.all.services: is 'photos'; write a list of names"),
        ('[processes.all]\nservices = ["a", "a"]', "processes.all.services: a listed twice; once is enough"),
        ('[processes.all]\nservices = ["A b"]', "processes.all.services.0: 'A b' is no name; use lower-case letters"),
        ('[processes.all]\nservices = ["a"]\nreplicas = 2', "processes.all.replicas: unknown key; remove it"),
        ('title = "x"\n[processes.all]\nservices = ["a"]', "title: unknown key; remove it"),
        ("[[", "is not TOML"),
    ],
)
def test_a_wrong_file_is_refused_naming_the_key_and_the_remedy(tmp_path: Path, text: str, said: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(DeploymentError, match=said) as refusal:
        read_deployment(file)
    assert file in str(refusal.value)


def test_all_that_is_wrong_in_a_file_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(DeploymentError) as refusal:
        read_deployment(written(tmp_path, "x = 1\n[processes.all]\nservices = []\nurls = 3"))
    assert len(refusal.value.problems) == 3


def test_names_and_paths_that_lead_nowhere_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match="ships with no such name; known: monolith"):
        read_deployment("monolit")
    with pytest.raises(DeploymentError, match=r"cannot be read .*check the path"):
        read_deployment(str(tmp_path / "none.toml"))


def test_several_processes_are_more_than_one_command_runs(tmp_path: Path) -> None:
    deployment = read_deployment(written(tmp_path, '[processes.a]\nservices=["photos"]\n[processes.b]\nservices=["images"]'))
    assert deployment.services == ("photos", "images")
    with pytest.raises(DeploymentError, match=r"it has 2 processes \(a, b\)"):
        deployment.only_process()


def test_the_services_that_ship_load_by_name() -> None:
    services = load_services(("photos", "images"))
    assert [service.name for service in services] == ["photos", "images"]


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A third-party distribution, as an installer would lay it out, with services that are wrong in every way."""
    module = f"acme_{uuid4().hex}"
    (tmp_path / f"{module}.py").write_text(
        "from abc import abstractmethod\n"
        "from pydantic_settings import BaseSettings\n"
        "from trenza import Contract, Service\n"
        "class Parcels(Contract, service='parcels'): ...\n"
        "class ParcelDesk(Parcels):\n"
        "    def __init__(self, resources): ...\n"
        "service = Service(contract=Parcels, implementation=ParcelDesk, settings=BaseSettings)\n"
        "number = 5\n"
    )
    (tmp_path / f"{module}_broken.py").write_text("import a_module_that_nobody_has\n")
    (tmp_path / f"{module}_loose.py").write_text("from trenza import Value\n\nclass Parcel(Value):\n    stamps: list[str]\n")
    (tmp_path / f"{module}_odd.py").write_text("len(5)\n")
    info = tmp_path / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: acme\nVersion: 1.0\nProvides-Extra: maps\nProvides-Extra: scans\n"
        'Requires-Dist: no-such-maps>=2; extra == "maps"\nRequires-Dist: pydantic>=2; extra == "maps"\n'
        'Requires-Dist: no-such-scans[fast]>=1; (python_version >= "3.8") and extra == "scans"\n'
    )
    (info / "entry_points.txt").write_text(
        "[trenza.services]\n"
        f"parcels = {module}:service\nnumber = {module}:number\nletters = {module}:service\nabsent = {module}:nothing\n"
        f"broken = {module}_broken:service\nloose = {module}_loose:service\nodd = {module}_odd:service\n"
        f"nofile = {module}_nofile:service\nmaps = {module}:service\nscans = {module}:service\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith(module)]:
        del sys.modules[name]


@pytest.mark.usefixtures("distribution")
def test_services_of_other_distributions_join_by_their_entry_point() -> None:
    (service,) = load_services(("parcels",))
    assert service.name == "parcels"


def test_a_name_in_two_distributions_is_refused(distribution: Path) -> None:
    rival = distribution / "rival-2.0.dist-info"
    rival.mkdir()
    (rival / "METADATA").write_text("Metadata-Version: 2.4\nName: rival\nVersion: 2.0\n")
    (rival / "entry_points.txt").write_text("[trenza.services]\nparcels = json:loads\n")
    with pytest.raises(DeploymentError, match="service 'parcels' is in several distributions: acme and rival; uninstall one"):
        load_services(("parcels",))


@pytest.mark.usefixtures("distribution")
def test_every_missing_piece_is_listed_in_one_error_with_the_command_that_installs_it() -> None:
    with pytest.raises(DeploymentError) as refusal:
        load_services(("maps", "scans", "nowhere", "parcels"))
    said = str(refusal.value)
    assert "service 'maps' needs no-such-maps" in said
    assert "service 'scans' needs no-such-scans" in said
    known = re.search(r"no installed distribution has a service 'nowhere'; known: (.+)", said)
    assert known is not None
    assert known[1].split(", ") == sorted(known[1].split(", "))
    assert {"absent", "broken", "images", "letters"} <= set(known[1].split(", "))
    assert "pip install 'acme[maps,scans]'" in said
    assert len(refusal.value.problems) == 4


@pytest.mark.usefixtures("distribution")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("number", "is a int; it must be a trenza.Service"),
        ("letters", "its contract says service='parcels'; give both the same name"),
        ("absent", "does not exist; correct its entry point"),
        ("broken", "No module named 'a_module_that_nobody_has'; install a_module_that_nobody_has"),
        ("nofile", "No module named 'acme_.*_nofile'; correct its entry point, or install its distribution again"),
        ("loose", r"Parcel.stamps holds a list; .* \(use a tuple\) \(.*acme_.*_loose.py, line 3\)"),
    ],
)
def test_an_entry_point_that_is_wrong_is_explained(name: str, said: str) -> None:
    with pytest.raises(DeploymentError, match=said):
        load_services((name,))


@pytest.mark.usefixtures("distribution")
def test_a_defect_of_a_service_shows_where_it_is() -> None:
    with pytest.raises(TypeError, match="object of type 'int' has no len"):
        load_services(("odd",))
