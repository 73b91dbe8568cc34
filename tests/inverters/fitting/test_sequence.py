"""The fit of frames in turn: where each begins, and what couples it to the one before."""

from __future__ import annotations

from dataclasses import replace

import torch

from inverters.fitting.latents import latent_space
from inverters.fitting.sequence import SequenceFit
from inverters.fitting.targets import Targets
from inverters.generators.eg3d import Generator
from tests.inverters.tiny import own_clip, tiny, tiny_generator


def begin_of(generator: Generator, person: torch.Tensor) -> dict[str, torch.Tensor]:
    """A beginning whose person lies `person` [w_dim] from the mean."""
    zero = torch.zeros(latent_space(generator).dim)
    return {
        "shared": zero,
        "frame": zero,
        "offset": person[None],
        "residual": torch.full((1, len(person)), 0.1),
        "pose": torch.tensor([0.5, -0.5]),
    }


def test_a_frame_begins_where_the_one_before_it_ended() -> None:
    generator = tiny_generator()
    targets = Targets(own_clip(generator, 3), 16, torch.device("cpu"))
    preset = tiny("vive3d").sequence
    still = replace(preset.codes, rate=0.0, frame_rate=0.0, pose_rate=0.0)
    begin = begin_of(generator, torch.linspace(-0.2, 0.2, 16))
    fit = SequenceFit(generator, targets, begin, replace(preset, codes=still), (3, 2), 0)
    assert fit.steps == 7
    seen = []
    for i in range(7):
        assert not fit.finished()
        seen.append(int(fit.at[0]))
        fit.step(i)
    assert fit.finished() and seen == [0, 0, 0, 1, 1, 2, 2]
    ws = fit.all_ws()
    assert torch.equal(ws[0], ws[1]) and torch.equal(ws[0], ws[2])
    assert torch.equal(fit.pose.values, torch.tensor([[0.5, -0.5]] * 3))
    moving = SequenceFit(generator, targets, begin, preset, (3, 2), 0)
    for i in range(3):
        moving.step(i)
    first = moving.all_ws()[0]
    moving.step(3)
    assert torch.equal(moving.all_ws()[0], first), "a frame that is done rests"
    rate = max(preset.codes.rate, preset.codes.frame_rate)
    assert 0 < float((moving.residual.values[1] - moving.residual.values[0]).abs().max()) <= 1.01 * rate


def test_a_price_on_steps_between_frames_keeps_them_together() -> None:
    generator = tiny_generator()
    targets = Targets(own_clip(generator, 3, occluder=True), 16, torch.device("cpu"))
    preset = tiny("vive3d").sequence
    apart = []
    for price in (0.0, 1.0):
        begin = begin_of(generator, torch.zeros(16))
        fit = SequenceFit(generator, targets, begin, replace(preset, lambda_previous=price), (8, 8), 0)
        for i in range(24):
            fit.step(i)
        apart.append(float((fit.all_ws()[1:] - fit.all_ws()[:-1]).norm()))
    assert apart[1] < 0.5 * apart[0]
