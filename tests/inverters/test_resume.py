"""A run killed anywhere goes on bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

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
    common = dict(preset="tiny", seed=2, checkpoint_dir=folder)
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
        inversion = get_inverter("in-n-out")(generator, problem, steps=16, on_step=on_step, **common)
        return finetune(generator, problem, inversion, steps=7, on_step=on_step, **common)

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


def start(script: Path, folder: Path, out: Path, stop_at: int) -> subprocess.Popen[str]:
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(folder), str(out), str(stop_at)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=root)


def wait_for_step(process: subprocess.Popen[str], step: int) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= step:
            return


def test_killed_in_every_stage_it_gives_the_same_bits(tmp_path: Path) -> None:
    """5 steps of codes, 11 of the joint stage, 7 of super-resolution; a checkpoint after every third of a stage.

    Killed after step 4; from 3 after 7 more, in the joint stage; from 5 + 3 after 11 more, in super-resolution.
    """
    script = tmp_path / "job.py"
    script.write_text(SCRIPT)
    cut, out = tmp_path / "cut", tmp_path / "cut.safetensors"
    whole = start(script, tmp_path / "whole", tmp_path / "whole.safetensors", -1)
    for stop_at in (4, 7, 11):
        process = start(script, cut, out, stop_at)
        wait_for_step(process, stop_at)
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not out.exists()
    last = start(script, cut, out, -1)
    said = last.communicate()[0]
    assert last.returncode == 0 and whole.wait() == 0
    assert len(said.split()) == 4, "the last run had four steps left"
    one, other = load_file(tmp_path / "whole.safetensors"), load_file(out)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name
