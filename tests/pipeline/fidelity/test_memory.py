"""The memory of a job is its own, whatever the process held that started it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

MEASURE = "import sys; from pipeline.fidelity.running import peak_memory; print(peak_memory())"


def test_a_child_does_not_answer_for_its_parent() -> None:
    before = np.ones(2**27)  # 1 GiB
    child = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    own = [sys.executable, "-c", f"import numpy; a = numpy.ones(2**27); {MEASURE}"]
    larger = subprocess.run(own, capture_output=True, text=True, check=True)
    assert before.nbytes == 2**30
    assert float(larger.stdout) > float(child.stdout) + 900
    assert 10 < float(child.stdout) < 900
