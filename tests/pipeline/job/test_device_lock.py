"""One GPU stage per device, whoever runs it, and no wait for the dead."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.job import device_lock
from pipeline.job.device_lock import turn_on

ROOT = Path(__file__).parents[3]


def holder(folder: Path, device: str) -> subprocess.Popen[str]:
    code = f"""
import time
from pathlib import Path
from pipeline.job.device_lock import turn_on
with turn_on({device!r}, folder=Path({str(folder)!r})):
    print("held", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_a_device_is_held_by_one_and_free_at_once_when_that_is_killed(tmp_path: Path) -> None:
    process = holder(tmp_path, "cuda:1")
    waited: list[float] = []
    try:
        with turn_on("cuda:0", lambda: waited.append(0), tmp_path):
            assert not waited, "another device"
        with turn_on("cpu", lambda: waited.append(0), tmp_path):
            assert not waited, "processors are shared"

        def told() -> None:
            waited.append(time.monotonic())
            process.send_signal(signal.SIGKILL)

        with turn_on("cuda:1", told, tmp_path):
            assert len(waited) == 1 and time.monotonic() - waited[0] < 5
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    with turn_on("cuda:1", lambda: waited.append(0), tmp_path):
        assert len(waited) == 1


def test_a_device_has_one_name_however_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    seen = {0: "GPU-a", 1: "GPU-b"}

    class Properties:
        def __init__(self, number: int) -> None:
            self.uuid = seen[number]

    monkeypatch.setattr(torch.cuda, "get_device_properties", Properties)
    assert device_lock.name_of("cuda") == device_lock.name_of("cuda:0") == "gpu-GPU-a"
    first = device_lock.name_of("cuda:1")
    seen[0] = "GPU-b"  # as with CUDA_VISIBLE_DEVICES=1
    assert device_lock.name_of("cuda") == first
