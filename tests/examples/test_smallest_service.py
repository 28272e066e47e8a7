"""The service that CONTRIBUTING.md calls the smallest one, taken from there, runs."""

from __future__ import annotations

import re
from pathlib import Path

import httpx

from trenza.chassis.testing.server_process import ServerProcess, run_trenza

CONTRIBUTING = Path(__file__).parents[2] / "CONTRIBUTING.md"


def install(site: Path) -> None:
    """Put it where an installed distribution would be."""
    section = CONTRIBUTING.read_text().split("### The smallest one\n", 1)[1]
    module = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert module is not None
    metadata = site / "greetings-0.1.0.dist-info"
    metadata.mkdir(parents=True)
    (site / "greetings.py").write_text(module.group(1))
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: greetings\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text("[trenza.services]\ngreetings = greetings:service\n")


async def test_it_runs(tmp_path: Path) -> None:
    install(tmp_path / "site")
    deployment = tmp_path / "deployment.toml"
    deployment.write_text('[processes.all]\nservices = ["greetings"]\n')
    data, named = tmp_path / "data", ("--deployment", str(deployment))
    installed = {"PYTHONPATH": str(tmp_path / "site")}
    async with ServerProcess.running(data, *named, environment=installed) as server, httpx.AsyncClient() as client:
        answer = await client.get(f"{server.url}/greetings/Ana")
        assert (answer.status_code, answer.json()) == (200, "Hello, Ana")
        for command, said in (
            (("tasks", "list"), "no tasks\n"),
            (("dead-letters", "list"), "no dead letters\n"),
            (("messages", "top", "--once"), "no service has messages\n"),
            (("migrate",), "no service has a database\n"),
        ):
            assert await run_trenza(*command, *named, "--data-dir", str(data), environment=installed) == (0, said, "")
