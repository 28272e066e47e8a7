"""Databases in memory for simulations, and silence: failures are what is simulated."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from trenza.chassis.testing.simulation.simulation import Simulation, folder_in_memory


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """For these tests only: others look at what is logged."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


@pytest.fixture(scope="session")
def simulation() -> Iterator[Simulation]:
    """The real message layer. One for all tests of a process: what SQLAlchemy compiles takes as long as some seeds."""
    with folder_in_memory() as folder, Simulation(folder) as simulation:
        yield simulation
