"""A run killed anywhere goes on bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from inverters.base import Inversion

SCRIPT = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    import torch
    torch.set_num_threads(1)
    import inverters.fitting
    inverters.fitting.CHECKPOINT_EVERY = 3
    from safetensors.torch import save_file
    from inverters.base import get_inverter
    from inverters.finetune import finetune
    from tests.inverters.test_resume import results
    from tests.inverters.tiny import own_clip, tiny_generator

    folder, out, stop_at = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    generator = tiny_generator()
    problem = own_clip(generator, 3, occluder=True)
    done = 0

    def on_step(step, total, losses):
        global done
        done += 1
        print(done, flush=True)
        if done == stop_at:
            time.sleep(60)  # to be killed here, between two steps, with no chance to tidy up

    def run():
        inversion = get_inverter("in-n-out")(
            generator, problem, preset=sys.argv[4], steps=16, seed=2, checkpoint_dir=folder, on_step=on_step
        )
        return finetune(
            generator, problem, inversion, preset="tiny", steps=7, seed=2, checkpoint_dir=folder, on_step=on_step
        )

    save_file(results(run()), out)
    """
)


def results(inversion: Inversion) -> dict[str, torch.Tensor]:
    """All numbers of an inversion as tensors."""
    tensors = {"ws": inversion.ws.clone()}
    for group in ("ood", "superresolution"):
        tensors |= {f"{group}.{k}": v.clone() for k, v in getattr(inversion, group).items()}
    history = {f"history.{k}": torch.tensor(v, dtype=torch.float64) for k, v in inversion.history.items()}
    return tensors | history


def start(script: Path, folder: Path, out: Path, stop_at: int, preset: str) -> subprocess.Popen[str]:
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(folder), str(out), str(stop_at), preset]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=root)


def steps_said(process: subprocess.Popen[str], until: int) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= until:
            return


@pytest.mark.parametrize("preset", ["tiny"])
def test_killed_in_every_stage_it_gives_the_same_bits(tmp_path: Path, preset: str) -> None:
    script = tmp_path / "job.py"
    script.write_text(SCRIPT)
    whole = start(script, tmp_path / "whole", tmp_path / "whole.safetensors", -1, preset)
    # Of 16 steps a third are the codes'. Killed in the codes, then in the joint stage, then in super-resolution.
    for stop_at in (4, 8, 12):
        process = start(script, tmp_path / "cut", tmp_path / "cut.safetensors", stop_at, preset)
        steps_said(process, stop_at)
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (tmp_path / "cut.safetensors").exists()
    assert start(script, tmp_path / "cut", tmp_path / "cut.safetensors", -1, preset).wait() == 0
    assert whole.wait() == 0
    one, other = load_file(tmp_path / "whole.safetensors"), load_file(tmp_path / "cut.safetensors")
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


