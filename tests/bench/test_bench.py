"""The benchmarks run, and say what they measured. How fast they find this machine is no test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.tables import Figures, document

PROJECT = Path(__file__).parents[2]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)  # noqa: S603 - our own interpreter


def test_the_benchmark_of_calls_prints_its_table() -> None:
    done = bench("calls")
    assert done.returncode == 0, done.stderr
    figures = {line.split("│")[1].strip(): float(line.split("│")[2]) for line in done.stdout.splitlines() if "│" in line}
    assert {"plain await, answer at hand", "local binding, answer at hand", "wire binding, answer at hand"} <= figures.keys()
    assert min(figures.values()) >= 0


def test_an_unknown_benchmark_is_refused_with_the_known_ones() -> None:
    done = bench("cals")
    assert done.returncode == 2
    assert "there is no benchmark 'cals'; there are " in done.stderr
    assert "startup" in done.stderr


def test_a_table_replaces_its_own_section_of_the_page_and_no_other() -> None:
    def figures(title: str, value: str) -> Figures:
        return Figures(title, "How.", ("what", "figure"), (("speed", value),))

    page = document([figures("Calls", "1"), figures("Uploads", "2")])
    again = document([figures("Uploads", "3"), figures("Messages", "4")], page)
    assert [line for line in again.splitlines() if line.startswith("## ")] == ["## Calls", "## Messages", "## Uploads"]
    assert [line for line in again.splitlines() if line.startswith("| speed")] == [
        "| speed | 1 |",
        "| speed | 4 |",
        "| speed | 3 |",
    ]
    assert again.count("# Benchmarks\n") == 1
