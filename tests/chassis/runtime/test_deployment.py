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
        ("[processes.all]", r'processes.all: hosts nothing; write services = \["photos"\], or gateway = true'),
        ("[processes.all]\nservices = []", "processes.all: hosts nothing"),
        ('[processes.all]\nservices = "photos"', "processes.all.services: is 'photos'; write a list of names"),
        ('[processes.all]\nservices = ["a", "a"]', "processes.all.services: a listed twice; once is enough"),
        ('[processes.all]\nservices = ["A b"]', "processes.all.services.0: 'A b' is no name; use lower-case letters"),
        ('[processes.all]\nservices = ["a"]\nreplika = 2', "processes.all.replika: unknown key; remove it"),
        ('[processes.all]\nservices = ["a"]\nreplicas = 0', "processes.all.replicas: is 0; write a number from 1 to 64"),
        ('[processes.all]\nservices = ["a"]\nreplicas = true', "processes.all.replicas: is True; write a whole number"),
        ('[processes.all]\nservices = ["a"]\nworkers = "no"', "processes.all.workers: is 'no'; write true or false"),
        ('[processes.all]\nservices = ["a"]\nurl = 8000', "processes.all.url: is 8000; write a text in quotes"),
        ('[processes.all]\nservices = ["a"]\nurl = "localhost:8000"', "processes.all.url: 'localhost:8000' is no address of a"),
        ('[processes.all]\nservices = ["a"]\nurl = "http://a/b"', "processes.all.url: 'http://a/b' is no address of a process"),
        ('[processes.all]\nservices = ["a"]\nurl = "http://u:p@a"', "is no address of a process"),
        ('[processes.all]\nservices = ["a"]\nurl = "http://a:99999"', "has no port that exists; choose one from 1 to 65535"),
        (
            '[processes.all]\nservices = ["a"]\nurl = "http://a:65530"\nreplicas = 9',
            "processes.all: its replicas need the ports 65530 to 65538, and 65535 is the last",
        ),
        ("[processes.all]\ngateway = true\nreplicas = 2", "processes.all: has several replicas but no url"),
        ('[processes.all]\nservices = ["a"]\nworkers = false', "processes.all: does nothing: without a url nobody calls it"),
        (
            '[processes.a]\nservices = ["x"]\n[processes.b]\ngateway = true\nurl = "http://h"',
            "processes.a: nobody reaches x, as no process that hosts it has a url; give this one a url",
        ),
        (
            '[processes.a]\nservices = ["x"]\nurl = "http://h:1"\nworkers = false\n[processes.b]\ngateway = true\nurl = "http://h"',
            "processes.a: nobody handles the messages of x; let one process that hosts it run workers",
        ),
        (
            '[processes.a]\nservices = ["x"]\nurl = "http://h:1"\nreplicas = 3\n[processes.b]\nservices = ["y"]\nurl = "http://h:3"',
            "processes.b.url: http://h:3 is that of a as well",
        ),
        ('title = "x"\n[processes.all]\nservices = ["a"]', "title: unknown key; remove it"),
        ("[[", "is not TOML"),
        ("a = " + "[" * 3000 + "]" * 3000, "is not TOML"),
        ("a = " + "1" * 6000, "is not TOML"),
        ('[gateway]\nlegacy = "http://u:p@h"\n[processes.all]\nservices = ["a"]', "gateway.legacy: 'http://u:p@h' is no address"),
        (
            '[gateway]\nlegacy = "http://h:999999"\n[processes.all]\nservices = ["a"]',
            "gateway.legacy: 'http://h:999999' is no",
        ),
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
    assert len(refusal.value.problems) == 2  # what a process is for is asked once its keys are right


def test_names_and_paths_that_lead_nowhere_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match="ships with no such name; known: monolith"):
        read_deployment("monolit")
    with pytest.raises(DeploymentError, match=r"cannot be read .*check the path"):
        read_deployment(str(tmp_path / "none.toml"))


def test_several_processes_are_more_than_one_command_runs() -> None:
    deployment = read_deployment("split")
    assert deployment.services == ("photos", "images")
    with pytest.raises(DeploymentError, match=r"it has 3 processes \(gateway, images, photos\); name one with `trenza serve`"):
        deployment.only_process()


def test_replicas_take_consecutive_ports_and_gateways_share_theirs(tmp_path: Path) -> None:
    deployment = read_deployment(
        written(
            tmp_path,
            '[processes.door]\ngateway = true\nurl = "http://[::1]:8000"\nreplicas = 2\n'
            '[processes.a]\nservices = ["photos"]\nurl = "http://[::1]:8101"\nreplicas = 2\n'
            '[processes.b]\nservices = ["photos", "images"]\nurl = "http://10.0.0.7"\n'
            '[processes.c]\nservices = ["photos"]\nreplicas = 4\n',
        )
    )
    assert deployment.process("door").urls == ("http://[::1]:8000",)
    assert [deployment.process("door").address(replica) for replica in (0, 1)] == [("::1", 8000)] * 2
    assert deployment.process("a").urls == ("http://[::1]:8101", "http://[::1]:8102")
    assert deployment.process("a").address(1) == ("::1", 8102)
    assert deployment.process("c").address(3) == ("127.0.0.1", 0)
    assert deployment.urls_of("photos") == ("http://[::1]:8101", "http://[::1]:8102", "http://10.0.0.7")
    assert deployment.urls_of("images") == ("http://10.0.0.7",)
    assert deployment.public_url == "http://[::1]:8000"
    with pytest.raises(DeploymentError, match="has no process 'd'; known: door, a, b, c"):
        deployment.process("d")


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
