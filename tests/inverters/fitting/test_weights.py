"""Tuning of weights: stopping by LPIPS, locality, and cameras that move."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from inverters.fitting.targets import Targets
from inverters.fitting.weights import GeneratorFit, Locality
from tests.inverters.methods.test_pose_opt import degrees, turned_away
from tests.inverters.tiny import own_clip, tiny, tiny_generator


@pytest.mark.weights
def test_it_stops_by_lpips_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With SqueezeNet, the one of LPIPS's networks that is at hand whole."""
    pytest.importorskip("lpips")
    folder = Path(__file__).resolve().parents[4] / "shared" / "data" / "networks" / "lpips"
    weights = folder / "squeezenet1_1_full_fp16classifier.pth"
    if not weights.exists():
        pytest.skip("SqueezeNet's weights are not beside the repository")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "squeezenet1_1-b8a52dc0.pth").symlink_to(weights.resolve())
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    generator = tiny_generator(img_resolution=64)
    problem = own_clip(generator, 1, occluder=True)
    targets = Targets(replace(problem, occluder_masks=None), 16, torch.device("cpu"))
    ws = generator.card.w_avg.expand(1, generator.num_ws, -1)
    preset = replace(tiny("pti").tuning, net="squeeze")
    fit = GeneratorFit(generator, targets, ws, preset, 40, 0)
    assert fit.perceptual_name == "lpips-squeeze"
    first = float(fit.step(0)["perceptual"])
    fit.settings = replace(preset, stop=0.8 * first)
    for i in range(1, 40):
        if fit.finished():
            break
        seen = float(fit.step(i)["perceptual"])
    assert fit.finished() and seen <= 0.8 * first and i < 39


def test_locality_keeps_other_faces() -> None:
    generator = tiny_generator()
    targets = Targets(own_clip(generator, 2, occluder=True), 16, torch.device("cpu"))
    ws = generator.card.w_avg.expand(2, generator.num_ws, -1)
    changes = []
    for locality in (None, Locality(alpha=2.0, lambda_image=20.0, lambda_perceptual=20.0)):
        preset = replace(tiny("pti").tuning, coarse=8, fine=8, locality=locality)
        fit = GeneratorFit(generator, targets, ws, preset, 15, 0)
        for i in range(15):
            losses_of_step = fit.step(i)
            assert ("locality" in losses_of_step) is (locality is not None)
        others = generator.mapping(torch.randn(8, 16, generator=torch.Generator().manual_seed(7)))
        rows = torch.zeros(8, dtype=torch.int64)
        with torch.no_grad():
            before, after = (fit._pictures(one, rows, others)[1] for one in (generator, fit.generator))
        changes.append(float((before - after).square().mean()))
    assert changes[1] < 0.7 * changes[0]


@pytest.mark.parametrize("own", [False, True])
def test_where_face_and_weights_are_right_the_cameras_come_back(own: bool) -> None:
    generator = tiny_generator()
    true = own_clip(generator, 2)
    poses = torch.tensor([[0.0, 1.5, 0, 0, 0, 0, 0], [-1.0 if own else 0.0, 1.5, 0, 0, 0, 0, 0]])
    problem = turned_away(true, poses)
    z = torch.randn(1, 16, generator=torch.Generator().manual_seed(5))  # of own_clip's face
    still = replace(tiny("pose-opt").tuning, rate=0.0, rate_w=0.0)
    preset = replace(still, pose_rate=0.15, pose_every=int(own), frames_per_step=2)
    targets = Targets(problem, 16, torch.device("cpu"))
    fit = GeneratorFit(generator, targets, generator.mapping(z).expand(2, -1, -1), preset, 40, 0)
    for i in range(40):
        fit.step(i)
    before, after = (degrees(true.cam2world, c) for c in (problem.cam2world, fit.cameras()["cam2world"]))
    assert (after < 0.4 * before).all()
    assert (fit.pose.values.shape[0] == 2) is own
