"""The message layer keeps its promises under whatever faults a seed thinks of."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest

from trenza.chassis.failpoints import Failpoint
from trenza.chassis.testing.simulation.simulation import Simulation

FIXED = 12
"""Runs over seeds that are always the same; as many again take fresh ones."""
SEEDS = int(os.environ.get("TRENZA_SIMULATION_SEEDS", "42"))
"""Seeds of each run: a thousand in all."""
FINGERPRINT = """
import logging, structlog
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
from trenza.chassis.testing.simulation.simulation import Simulation, folder_in_memory
with folder_in_memory() as folder, Simulation(folder) as simulation:
    print(*(simulation.run(seed).fingerprint for seed in range(20, 25)))
"""


@pytest.mark.parametrize("run", range(FIXED))
def test_known_seeds_hold(simulation: Simulation, run: int) -> None:
    findings = [simulation.run(seed) for seed in range(run * SEEDS, (run + 1) * SEEDS)]
    assert "\n".join(str(finding) for finding in findings if finding.problems) == ""


@pytest.mark.parametrize("run", range(FIXED))
def test_fresh_seeds_hold(simulation: Simulation, run: int) -> None:
    first = random.SystemRandom().randrange(2**32)
    print(f"run {run}: {SEEDS} seeds from {first}")  # noqa: T201 - pytest shows it with a failure
    findings = [simulation.run(seed) for seed in range(first, first + SEEDS)]
    assert "\n".join(str(finding) for finding in findings if finding.problems) == ""


def test_a_seed_repeats_itself_in_any_process(simulation: Simulation) -> None:
    here = [simulation.run(seed).fingerprint for seed in range(20, 25)]
    again = [simulation.run(seed).fingerprint for seed in range(20, 25)]
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", FINGERPRINT]
    there = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)  # noqa: S603 - our own text
    assert again == here
    assert there.stdout.split() == here
    assert len(set(here)) == len(here)


def test_every_named_point_is_reached(simulation: Simulation) -> None:
    missing = set(Failpoint)
    for seed in range(100):
        missing -= simulation.run(seed).reached
        if not missing:
            return
    assert missing == set()
