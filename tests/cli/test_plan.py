"""``trenza plan``: who hosts what, in text, as JSON and as a picture, and everything that is missing at once."""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import Result

Trenza = Callable[..., Result]

_DOCS = Path(__file__).parents[2] / "docs" / "deployment"
_SVG = "{http://www.w3.org/2000/svg}"
_REPLICAS = """\
[processes.gateway]
gateway = true
url = "http://127.0.0.1:8000"
replicas = 2

[processes.photos]
services = ["photos"]
url = "http://127.0.0.1:8101"
replicas = 3
workers = false

[processes.photos-work]
services = ["photos"]

[processes.images]
services = ["images"]
url = "http://127.0.0.1:8111"
"""


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    """Write a deployment file."""

    def write(text: str) -> Path:
        file = tmp_path / "mine.toml"
        file.write_text(text)
        return file

    return write


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A distribution of others: ``orders`` uses ``stock`` and takes an event; ``maps`` needs a package that nobody has."""
    module = f"acme_{uuid4().hex}"
    (tmp_path / f"{module}.py").write_text(
        "from trenza import Contract, Delivery, Service, reacts\n"
        "from trenza.services.photos.contract import PhotoCompleted\n"
        "class Stock(Contract, service='stock'): ...\n"
        "class Orders(Contract, service='orders', paths=('/orders',)): ...\n"
        "class OrderDesk(Orders):\n"
        "    def __init__(self, resources): ...\n"
        "@reacts(PhotoCompleted)\n"
        "async def illustrate(desk: OrderDesk, event: PhotoCompleted, delivery: Delivery) -> None: ...\n"
        "orders = Service(contract=Orders, implementation=OrderDesk, uses=(Stock,), handlers=(illustrate,))\n"
        "class StockRoom(Stock):\n"
        "    def __init__(self, resources): ...\n"
        "stock = Service(contract=Stock, implementation=StockRoom)\n"
        "class Prices(Contract, service='prices'): ...\n"
        "class Taxes(Contract, service='taxes'): ...\n"
        "class PriceList(Prices):\n"
        "    def __init__(self, resources): ...\n"
        "class TaxDesk(Taxes):\n"
        "    def __init__(self, resources): ...\n"
        "prices = Service(contract=Prices, implementation=PriceList, uses=(Taxes,))\n"
        "taxes = Service(contract=Taxes, implementation=TaxDesk, uses=(Prices,))\n"
    )
    info = tmp_path / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: acme\nVersion: 1.0\nProvides-Extra: maps\nRequires-Dist: no-such-maps>=2; extra == 'maps'\n"
    )
    (info / "entry_points.txt").write_text(
        f"[trenza.services]\norders = {module}:orders\nstock = {module}:stock\nmaps = {module}:maps\n"
        f"prices = {module}:prices\ntaxes = {module}:taxes\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.startswith(module)]:
        del sys.modules[name]


def test_the_plan_of_one_process(trenza: Trenza) -> None:
    printed = trenza("plan")
    assert printed.exit_code == 0
    assert [line.split() for line in printed.stdout.splitlines()] == [
        ["process", "address", "services", "does"],
        ["all", "-", "photos,", "images", "works"],
        [],
        ["in", "process", "call", "how"],
        ["all", "photos", "→", "images", "local"],
    ]


def test_the_plan_of_several_processes(trenza: Trenza, written: Callable[[str], Path]) -> None:
    printed = trenza("plan", "--deployment", written(_REPLICAS))
    assert [line.split(maxsplit=2) for line in printed.stdout.splitlines()] == [
        ["process", "address", "services  does"],
        ["gateway", "http://127.0.0.1:8000", "x 2  -         gateway"],
        ["photos", "http://127.0.0.1:8101", "photos    answers"],
        ["http://127.0.0.1:8102"],
        ["http://127.0.0.1:8103"],
        ["photos-work", "-", "photos    works"],
        ["images", "http://127.0.0.1:8111", "images    answers"],
        [],
        ["in", "process", "call             how"],
        ["photos", "photos", "→ images  remote, http://127.0.0.1:8111"],
        ["photos-work", "photos", "→ images  remote, http://127.0.0.1:8111"],
    ]


def test_what_lies_on_one_machine_is_remarked(trenza: Trenza, written: Callable[[str], Path]) -> None:
    file = written(
        '[processes.a]\nservices = ["photos"]\nurl = "http://a:1"\n[processes.b]\nservices = ["images"]\nurl = "http://b:1"\n'
    )
    notes = [line for line in trenza("plan", "--deployment", file).stdout.splitlines() if line.startswith("note: ")]
    assert [note.partition(":")[2].split()[:3] for note in notes] == [
        ["the", "databases", "of"],
        ["objects", "are", "files"],
        ["the", "signing", "key"],
        ["no", "process", "is"],
    ]
    assert json.loads(trenza("plan", "--deployment", file, "--json").stdout)["notes"] == [note[6:] for note in notes]


@pytest.mark.usefixtures("acme")
def test_the_plan_as_json(trenza: Trenza, written: Callable[[str], Path]) -> None:
    file = written(
        '[processes.door]\ngateway = true\nurl = "http://127.0.0.1:8000"\nservices = ["orders", "stock"]\n'
        '[processes.rest]\nservices = ["photos", "images"]\nurl = "http://127.0.0.1:8101"\nreplicas = 2\n'
    )
    assert json.loads(trenza("plan", "--deployment", file, "--json").stdout) == {
        "deployment": "mine",
        "processes": {
            "door": {
                "services": ["orders", "stock"],
                "gateway": True,
                "urls": ["http://127.0.0.1:8000"],
                "replicas": 1,
                "workers": True,
            },
            "rest": {
                "services": ["photos", "images"],
                "gateway": False,
                "urls": ["http://127.0.0.1:8101", "http://127.0.0.1:8102"],
                "replicas": 2,
                "workers": True,
            },
        },
        "calls": [
            {"process": "door", "caller": "orders", "callee": "stock", "local": True, "urls": []},
            {"process": "rest", "caller": "photos", "callee": "images", "local": True, "urls": []},
        ],
        "events": [{"publisher": "photos", "consumer": "orders", "types": ["photos.PhotoCompleted"]}],
        "notes": [],
    }


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize("more", [(), ("--json",), ("--picture", "-")])
def test_every_missing_piece_is_named_at_once(
    trenza: Trenza, written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    monkeypatch.setenv("TRENZA_PHOTOS_DATABASE_URL", "mysql://root:geheim@db/photos")
    file = written('[processes.all]\nservices = ["photos", "orders", "maps", "nowhere"]\n')
    refused = trenza("plan", "--deployment", file, *more)
    assert refused.exit_code == 1
    assert refused.stdout == ""
    summary, *problems = refused.stderr.splitlines()
    assert summary == "trenza: deployment 'mine' does not work:"
    assert [problem.split(";")[0].split(": ")[0] for problem in problems] == [
        "  - service 'maps' needs no-such-maps",
        "  - no installed distribution has a service 'nowhere'",
        "  - install what is missing",
        "  - photos uses Images, which no process hosts",
        "  - orders uses Stock, which no process hosts",
        "  - TRENZA_PHOTOS_DATABASE_URL names mysql",
    ]
    assert "pip install 'acme[maps]'" in refused.stderr
    assert "add 'images' to the services of the deployment" in refused.stderr
    assert "geheim" not in refused.stderr


@pytest.mark.usefixtures("acme")
def test_services_that_use_each_other_are_named_with_the_rest(trenza: Trenza, written: Callable[[str], Path]) -> None:
    refused = trenza("plan", "--deployment", written('[processes.all]\nservices = ["prices", "taxes", "orders"]\n'))
    assert refused.exit_code == 1
    assert [line.split("(")[0] for line in refused.stderr.splitlines()[1:]] == [
        "  - orders uses Stock, which no process hosts: add 'stock' to the services of the deployment",
        "  - services use each other in a circle ",
    ]


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ('[processes.all]\nservices = ["photos", "images"]\nreplicas = 2\n', ["no process has a url"]),
        (_REPLICAS.replace("127.0.0.1:8000", "localhost:8000"), []),
    ],
)
def test_only_what_may_surprise_is_remarked(trenza: Trenza, written: Callable[[str], Path], text: str, notes: list[str]) -> None:
    remarks = json.loads(trenza("plan", "--deployment", written(text), "--json").stdout)["notes"]
    assert [remark.split(",")[0] for remark in remarks] == notes


def test_a_setting_that_cannot_be_read_is_named_with_the_rest(
    trenza: Trenza, written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRENZA_WORKER_CONCURRENCY", "many")
    refused = trenza("plan", "--deployment", written('[processes.all]\nservices = ["photos"]\n'))
    assert [line.split(":")[0] for line in refused.stderr.splitlines()[1:]] == [
        "  - photos uses Images, which no process hosts",
        "  - TRENZA_WORKER_CONCURRENCY is 'many'",
    ]


def test_a_file_that_is_no_deployment_has_all_its_mistakes_named(trenza: Trenza, written: Callable[[str], Path]) -> None:
    file = written(
        '[processes.a]\nservices = ["photos"]\nurl = "a:1"\n[processes.b]\nservices = ["images"]\nurl = "http://b/x"\n'
    )
    refused = trenza("plan", "--deployment", file)
    assert refused.exit_code == 1
    assert [line.split(" is no ")[0] for line in refused.stderr.splitlines()[1:]] == [
        "  - processes.a.url: 'a:1'",
        "  - processes.b.url: 'http://b/x'",
    ]


def _texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{_SVG}text")]  # noqa: S314 - what we have just drawn


def test_the_picture_in_the_docs_is_what_is_drawn(trenza: Trenza) -> None:
    drawn = trenza("plan", "--deployment", "split", "--picture", "-").stdout
    assert (_DOCS / "split.svg").read_text("utf-8") == drawn, "draw it anew: make docs"


def test_the_picture_is_written_to_a_file(trenza: Trenza, tmp_path: Path) -> None:
    file = tmp_path / "plan.svg"
    written = trenza("plan", "--deployment", "split", "--picture", file)
    assert (written.exit_code, written.stdout) == (0, f"{file}: the picture of deployment split\n")
    assert file.read_bytes() == (_DOCS / "split.svg").read_bytes()


@pytest.mark.usefixtures("acme")
def test_the_picture_shows_processes_services_calls_and_events(trenza: Trenza, written: Callable[[str], Path]) -> None:
    orders = '[processes.orders]\nservices = ["orders", "stock"]\nurl = "http://127.0.0.1:8121"\n'
    drawn = trenza("plan", "--deployment", written(_REPLICAS + orders), "--picture", "-").stdout
    root = ET.fromstring(drawn)  # noqa: S314 - what we have just drawn
    assert root.get("role") == "img"
    titles = {root.findtext(f"{_SVG}{name}") for name in ("title", "desc")}
    assert "Deployment mine" in titles
    assert any(text and "In orders, orders calls stock locally." in text for text in titles)
    assert any(text and "In photos, photos calls images remotely." in text for text in titles)
    texts = _texts(drawn)
    assert {"http://127.0.0.1:8101 to 8103", "3 replicas", "no workers", "no address: it only works"} <= set(texts)
    assert {"/orders", "SQLite file orders.sqlite3", "photos.PhotoCompleted"} <= set(texts)
    assert {"requests of clients", "calls to another process", "calls within a process", "events"} <= set(texts)
    wires = [element.get("class") for element in root.iter(f"{_SVG}path")]
    legend = 1
    assert [wires.count(f"{kind} wire") - legend for kind in ("request", "remote", "local", "event")] == [2, 1, 1, 1]


def test_nothing_in_the_picture_runs_out_of_it_or_into_its_neighbour(trenza: Trenza, written: Callable[[str], Path]) -> None:
    root = ET.fromstring(trenza("plan", "--deployment", written(_REPLICAS), "--picture", "-").stdout)  # noqa: S314 - ours
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    rectangles = [element for element in root.iter(f"{_SVG}rect") if element.get("class") in ("box", "card")]
    for element in rectangles:
        x, y, w, h = (float(element.get(name, 0)) for name in ("x", "y", "width", "height"))
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
    cards = [(float(e.get("y", 0)), float(e.get("height", 0))) for e in rectangles if e.get("class") == "card"]
    assert len(cards) == 3
    assert all(top + tall < below for (top, tall), (below, _) in pairwise(cards))


def test_requests_pass_beside_a_process_that_only_works(trenza: Trenza, written: Callable[[str], Path]) -> None:
    file = written(
        '[processes.work]\nservices = ["photos", "images"]\n'
        '[processes.api]\nservices = ["photos", "images"]\nurl = "http://127.0.0.1:1"\nworkers = false\n'
    )
    root = ET.fromstring(trenza("plan", "--deployment", file, "--picture", "-").stdout)  # noqa: S314 - ours
    boxes = [element for element in root.iter(f"{_SVG}rect") if element.get("class") == "box"]
    edge = min(float(box.get("x", 0)) for box in boxes)
    line = next(path.get("d", "") for path in root.iter(f"{_SVG}path") if path.get("class") == "request wire")
    assert float(re.findall(r"Q([\d.]+) ", line)[0]) < edge


def test_the_picture_tells_no_secret(trenza: Trenza, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRENZA_DATABASE_URL", "postgresql://ana:geheim@db.example:5433/trenza?password=geheim")
    monkeypatch.setenv("TRENZA_TRANSPORT_URL", "amqp://ana:ge/h?e@im@mq.example:5671/vhost?prefix=geheim")
    monkeypatch.setenv("TRENZA_BLOBS_URL", "s3://bucket/pre<fix>&")
    drawn = trenza("plan", "--deployment", "split", "--picture", "-").stdout
    texts = _texts(drawn)
    assert "PostgreSQL db.example:5433/trenza, schema photos" in texts
    assert "RabbitMQ mq.example:5671/vhost" in texts
    assert "bucket s3://bucket/pre<fix>&" in texts
    assert not any(secret in drawn for secret in ("geheim", "ana", "ge/h", "im@"))


def test_equal_deployments_give_equal_pictures(trenza: Trenza, written: Callable[[str], Path]) -> None:
    first, second = (trenza("plan", "--deployment", written(_REPLICAS), "--picture", "-").stdout for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (("--json", "--picture", "-"), 2, "--picture and --json are two forms of the plan; ask for one"),
        (("--picture", "/nowhere/plan.svg"), 1, "/nowhere/plan.svg cannot be written (No such file or directory); name a file"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_a_line(trenza: Trenza, more: tuple[str, ...], code: int, said: str) -> None:
    refused = trenza("plan", *more)
    assert refused.exit_code == code
    assert said in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_what_the_gateway_declares_and_cannot_be_is_named_at_once(trenza: Trenza, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        '[processes.all]\nservices = ["photos", "images"]\n'
        '[[gateway.moves]]\nprefix = "/api/zzz"\npercent = 5\n'
        '[[gateway.compositions]]\npath = "/home"\nparts = { again = "/home" }\n'
    )
    refused = trenza("plan", "--deployment", file)
    assert refused.exit_code == 1
    for said in ("/api/zzz moves from nowhere", "no service owns /api/zzz", "part again of /home is a composition"):
        assert said in refused.stderr
