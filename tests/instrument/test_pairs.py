"""A pair of faults, played for real on plain processes."""

import subprocess
import sys

import pytest

from conftest import ROOT

pytestmark = pytest.mark.real

NAME = "redis-down+kill"


def test_a_pair_is_played_once_and_the_table_leads_to_its_run(tmp_path):
    command = [sys.executable, "-m", "loadtest", "run", "pairs", "--only", "kill+redis-down", "--seconds", "18"]
    first, again = (
        subprocess.run([*command, "--output", str(tmp_path)], capture_output=True, text=True, cwd=ROOT, timeout=300)
        for _ in range(2)
    )
    print(first.stdout)
    folder = tmp_path / "pairs-processes"
    assert first.returncode == again.returncode == 0, first.stderr + again.stderr
    assert again.stdout.startswith(
        f"{NAME}: done before. Passed. Broken: 1 × redis-down and kill, 1 × kill and redis-down."
    )
    assert f"<a href='{NAME}/report.html'>" in (folder / "index.html").read_text()
    assert (folder / NAME / "report.html").exists()
