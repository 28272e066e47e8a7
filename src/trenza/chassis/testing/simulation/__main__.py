"""``python -m trenza.chassis.testing.simulation``: simulates many seeds, or replays one and shows its history."""

from __future__ import annotations

import argparse
import logging
import os
import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import structlog

from trenza.chassis.testing.simulation.simulation import Finding, Simulation, folder_in_memory

__all__ = ["main"]

_SHARE = 200
"""Seeds that a process takes at a time: the first few compile statements for the others."""


def main() -> int:
    """Simulate what the command line asks for; 1 when a rule was broken."""
    parser = argparse.ArgumentParser(prog="make simulate", description="Simulates the message layer under faults.")
    parser.add_argument("--seeds", type=int, default=1000, help="how many, counted from --first")
    parser.add_argument("--first", type=int, help="the first seed; by default any")
    parser.add_argument("--seed", type=int, help="replay this one and show its history")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once")
    options = parser.parse_args()
    if options.seed is not None:
        return _replay(options.seed)
    first = random.SystemRandom().randrange(2**32) if options.first is None else options.first
    return _many(first, options.seeds, options.jobs)


def _replay(seed: int) -> int:
    _quieten()
    with folder_in_memory() as folder, Simulation(folder) as simulation:
        finding = simulation.run(seed)
    sys.stdout.write("\n".join(finding.history) + "\n\n")
    sys.stdout.write(f"{finding}\n" if finding.problems else f"seed {seed}: every rule held\n")
    return 1 if finding.problems else 0


def _many(first: int, count: int, jobs: int) -> int:
    began, failed, done = time.monotonic(), 0, 0
    with ProcessPoolExecutor(jobs, initializer=_quieten) as pool:
        for findings in pool.map(_share, _shares(first, count, jobs)):
            for finding in findings:
                done += 1
                if finding.problems:
                    failed += 1
                    sys.stdout.write(f"{finding}\n")
                    sys.stdout.flush()
    seconds = time.monotonic() - began
    sys.stdout.write(f"{done} seeds from {first}: {failed} failed; {done / seconds:.1f} a second with {jobs} processes\n")
    return 1 if failed else 0


def _shares(first: int, count: int, jobs: int) -> Iterator[range]:
    size = min(_SHARE, -(-count // jobs))
    for start in range(first, first + count, size):
        yield range(start, min(start + size, first + count))


def _share(seeds: range) -> list[Finding]:
    """Only what failed keeps its history: the others would only travel between processes."""
    with folder_in_memory() as folder, Simulation(folder) as simulation:
        return [simulation.run(seed).brief() for seed in seeds]


def _quieten() -> None:
    """Log nothing: failures are what is simulated, and a history tells more."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


if __name__ == "__main__":
    sys.exit(main())
