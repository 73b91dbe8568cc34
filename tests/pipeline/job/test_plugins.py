"""A method and a stage from outside: a method by an entry point, a stage by `Plan.with_stage`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.job.walker import run_job
from pipeline.report.manifest import JobResult
from pipeline.request.settings import InvertSettings, Settings
from pipeline.stages import invert, track
from pipeline.stages.plan import plan_of
from pipeline.stages.run import StageRun
from pipeline.stages.stage import Stage
from tests.pipeline.fakes import FRAMES, SIZE, install, write_clip

TOY = '''
"""A method of another package: each frame's code is the mean colour of its crop."""

from dataclasses import dataclass

import numpy as np
import torch

from inverters.base import Inversion, Method
from inverters.fitting.superresolution import {tune}


@dataclass(frozen=True)
class ToySettings:
    name: str = "draft"
    tune: object = {tune}()
    render: tuple = (None, None)
    needs_masks: bool = False


def invert(generator, problem, *, settings, start, steps, seed, checkpoint_dir, on_step):
    crops = torch.from_numpy(np.asarray(problem.crops[np.arange(len(problem.frames))])).float()
    ws = (crops.mean(dim=(1, 2, 3)) / 127.5 - 1).reshape(-1, 1, 1).expand(-1, 2, 4).contiguous()
    on_step(1, 1, {{"total": 0.5}})
    print("the toy method ran")
    card = generator.card
    return Inversion("toy", settings.name, card.fingerprint, problem.frames, ws, info={{"seed": seed}})


METHOD = Method("toy", presets={{"draft": ToySettings()}}, steps=lambda settings, n: 1, invert=invert)
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an installed package `toy_invid`, on Python's path."""
    from inverters.methods import w

    site = tmp_path / "site"
    (site / "toy_invid-0.1.dist-info").mkdir(parents=True)
    (site / "toy_invid-0.1.dist-info" / "METADATA").write_text("Name: toy_invid\nVersion: 0.1\n")
    entry = "[invid.methods]\ntoy = toy_invid:METHOD\n"
    (site / "toy_invid-0.1.dist-info" / "entry_points.txt").write_text(entry)
    tune = type(next(iter(w.METHOD.presets.values())).tune).__name__
    (site / "toy_invid.py").write_text(TOY.format(tune=tune))
    monkeypatch.syspath_prepend(str(site))
    return site


def brightness(run: StageRun) -> None:
    """A stage of a user's: mean brightness of each frame with a face."""
    crops, weight = run.result_of("align").arrays["crops"], run.settings.edit.ease
    values = [float(crops[row].mean()) * weight for row in range(len(crops))]
    run.writer.put("brightness", np.array(values, np.float32))
    assert len(run.of(track.STAGE).usable) == len(values)
    run.count(len(values), len(values))


STAGE = Stage(
    "brightness",
    version=1,
    load=lambda run: run.result.arrays["brightness"].read(),
    compute=brightness,
    reads=("edit.ease",),
    needs=("track", "align"),
    notes=lambda run: ["brightness is known"],
)


def test_a_job_with_a_method_and_a_stage_from_outside(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = invert.invert
    fakes = install(monkeypatch)
    monkeypatch.setattr(invert, "invert", real)
    clip, out, cache = write_clip(tmp_path / "clip.mp4"), tmp_path / "out", tmp_path / "cache"
    settings = Settings(invert=InvertSettings(method="toy"))
    fakes.crops = torch.zeros(FRAMES, SIZE, SIZE, 3)
    plan = plan_of(settings).with_stage(STAGE)
    first = run_job(clip, out, cache, settings, plan=plan)
    assert "the toy method ran" in capsys.readouterr().out and not fakes.calls["invert"]
    assert [s["name"] for s in first["stages"]][-2:] == ["brightness", "report"]
    assert "brightness is known" in first["notes"]
    values, codes = (JobResult(out).array(n) for n in ("brightness/brightness", "invert/inversion.ws"))
    assert values is not None and values.shape == (FRAMES - 1,) and (values > 0).all()
    assert codes is not None and codes.shape == (FRAMES - 1, 2, 4)
    second = run_job(clip, out, cache, settings, plan=plan)
    cached = {s["name"]: s["cached"] for s in second["stages"]}
    assert cached["brightness"] and cached["invert"] and second["request"] == first["request"]
    plain = run_job(clip, out, cache, settings)
    assert plain["request"] != first["request"] and "brightness/brightness" not in plain["arrays"]


def test_the_command_line_knows_the_method(toy: Path) -> None:
    code = (
        "from pipeline.request.options import parse; "
        "print(parse(['clip.mp4', '--inverter', 'toy']).settings.invert.method)"
    )
    path = f"import sys; sys.path.insert(0, {str(toy)!r}); "
    done = subprocess.run([sys.executable, "-c", path + code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "toy", done.stderr
