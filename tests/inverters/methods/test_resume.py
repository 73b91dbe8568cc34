"""A killed run continues to the same bits."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import inverters.fitting.loop
from inverters.base import Inversion
from inverters.fitting.superresolution import finetune
from tests.inverters.tiny import invert, own_clip, tiny, tiny_generator

ROOT = Path(__file__).resolve().parents[3]


def results(inversion: Inversion) -> dict[str, torch.Tensor]:
    """All numbers of an inversion as tensors."""
    tensors = {"ws": inversion.ws.clone()}
    for group in ("ood", "generator"):
        tensors |= {f"{group}.{k}": v.clone() for k, v in getattr(inversion, group).items()}
    history = {f"history.{k}": torch.tensor(v, dtype=torch.float64) for k, v in inversion.history.items()}
    return tensors | history


def attempt(folder: Path, stop_at: int) -> tuple[int, int]:
    """Work in a process of its own, killed after its `stop_at`-th step; (steps done, its wait status)."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work(folder, writer, stop_at)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    steps = 0
    while os.read(reader, 1):
        steps += 1
        if steps == stop_at:
            os.kill(pid, signal.SIGKILL)
    os.close(reader)
    return steps, os.waitpid(pid, 0)[1]


def work(folder: Path, writer: int, stop_at: int) -> None:
    """5 steps of codes, 11 of the joint stage, 7 of super-resolution."""
    clock = itertools.count()  # one tick a look: a checkpoint after every third step
    inverters.fitting.loop.monotonic = lambda: float(next(clock))
    inverters.fitting.loop.CHECKPOINT_SECONDS = 3.0
    steps = 0

    def on_step(*_: object) -> None:
        nonlocal steps
        steps += 1
        os.write(writer, b".")
        if steps == stop_at:
            time.sleep(60)  # to be killed here, between two steps, with no chance to tidy up

    generator = tiny_generator()
    problem = own_clip(generator, 3, occluder=True)
    found = invert("in-n-out", generator, problem, steps=16, seed=2, checkpoint_dir=folder, on_step=on_step)
    found = finetune(
        generator,
        problem,
        found,
        settings=tiny("in-n-out").tune,
        steps=7,
        seed=2,
        checkpoint_dir=folder,
        on_step=on_step,
    )
    save_file(results(found), folder / "result.safetensors")


def main(folder: Path) -> None:
    """All attempts, one after the other, from a process that has not computed anything yet (so it may
    fork).
    """
    torch.set_num_threads(1)
    for name in ("whole", "cut"):
        (folder / name).mkdir()
    log = {"whole": attempt(folder / "whole", -1)}
    # Killed in the codes; goes on from step 3, killed in the joint stage; goes on from 5 + 3, killed in the
    # last.
    log |= {f"cut at {k}": attempt(folder / "cut", k) for k in (4, 7, 11)}
    assert not (folder / "cut" / "result.safetensors").exists()
    log["last"] = attempt(folder / "cut", -1)
    print(json.dumps(log))


def test_killed_in_every_stage_it_gives_the_same_bits(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.inverters.methods.test_resume", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    log = json.loads(done.stdout.splitlines()[-1])
    assert log["whole"] == [23, 0]
    for k in (4, 7, 11):
        assert log[f"cut at {k}"] == [k, int(signal.SIGKILL)]
    assert log["last"] == [4, 0], "of 23 steps, four were left"
    lives = [steps for name, (steps, _) in log.items() if name != "whole"]
    assert sum(lives) - 23 <= 3 * 3, (
        "more than the steps of a checkpoint's interval was done again for a kill"
    )
    one, other = (load_file(tmp_path / name / "result.safetensors") for name in ("whole", "cut"))
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


if __name__ == "__main__":
    main(Path(sys.argv[1]))
