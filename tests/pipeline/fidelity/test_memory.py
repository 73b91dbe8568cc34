"""The memory of a job is its own, whatever the process held that started it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

PROGRAM = [sys.executable, "-m", "pipeline.fidelity.peak_memory"]
MEASURE = "import sys; from pipeline.fidelity.peak_memory import peak_memory; print(peak_memory())"


def test_a_child_does_not_answer_for_its_parent() -> None:
    before = np.ones(2**27)  # 1 GiB
    child = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    own = [sys.executable, "-c", f"import numpy; a = numpy.ones(2**27); {MEASURE}"]
    larger = subprocess.run(own, capture_output=True, text=True, check=True)
    assert before.nbytes == 2**30
    assert float(larger.stdout) > float(child.stdout) + 900
    assert 10 < float(child.stdout) < 900


def test_a_program_is_run_with_its_arguments_and_measured(tmp_path) -> None:
    done = subprocess.run(
        [*PROGRAM, tmp_path / "memory", "json.tool", "--compact"],
        input=b"[1, 2]",
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"[1,2]\n"
    assert 5 < float((tmp_path / "memory").read_text()) < 900
    wrong = subprocess.run([*PROGRAM, tmp_path / "memory", "json.tool", "--no-such"], capture_output=True)
    assert wrong.returncode == 2 and b"--no-such" in wrong.stderr
