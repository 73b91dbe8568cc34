"""Codes smoothed over time: the kernels, runs of frames, and what must stay as it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inverters.base import Inversion
from inverters.editing.directions import Direction
from inverters.editing.edit import edit_codes
from inverters.editing.smoothing import smooth_in_time, smooth_inversion
from inverters.errors import UnknownNameError
from inverters.fields.synthesis import InversionRenderer
from inverters.fitting.spaces import retracted
from tests.inverters.editing.test_edit import Edit
from tests.inverters.tiny import invert, own_clip, tiny_generator

KINDS = st.sampled_from(["causal", "gaussian"])
FRAMES = st.lists(st.integers(0, 30), min_size=1, max_size=20, unique=True).map(sorted)


def codes(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, 5, generator=torch.Generator().manual_seed(seed))


def test_causal_is_the_released_kernel() -> None:
    """Twizwei/in-n-out: (w[t-2] / 4 + 3 w[t-1] / 4 + w[t]) / 2 from the third frame on."""
    w = codes(6)
    out = smooth_in_time(w, range(6), "causal")
    assert torch.equal(out[:2], w[:2])
    for t in range(2, 6):
        torch.testing.assert_close(out[t], (0.25 * w[t - 2] + 0.75 * w[t - 1] + w[t]) / 2)


def test_gaussian_is_a_gaussian_with_the_weights_of_a_run() -> None:
    w = codes(9)
    out = smooth_in_time(w, range(9), "gaussian")
    for t in (0, 4, 8):
        near = [k for k in range(9) if abs(k - t) <= 3]
        weights = np.exp([-((k - t) ** 2) / (2 * 0.75**2) for k in near])
        wanted = sum(float(a / weights.sum()) * w[k] for a, k in zip(weights, near))
        torch.testing.assert_close(out[t], wanted)


@given(KINDS, FRAMES, st.integers(0, 9))
def test_rows_mix_within_a_run_of_frames_alone(kind: str, frames: list[int], seed: int) -> None:
    w, numbers = codes(len(frames), seed), np.array(frames)
    out = smooth_in_time(w, numbers, kind)
    begins = np.flatnonzero(np.diff(numbers, prepend=-9) != 1)
    for first, stop in zip(begins, [*begins[1:], len(frames)]):
        alone = smooth_in_time(w[first:stop], range(stop - first), kind)
        assert torch.equal(out[first:stop], alone)
        assert out[first:stop].min() >= w[first:stop].min() - 1e-5, "a mean stays within what it is of"
        assert out[first:stop].max() <= w[first:stop].max() + 1e-5


@given(KINDS, FRAMES)
def test_what_does_not_change_stays_to_the_bit(kind: str, frames: list[int]) -> None:
    w = codes(1).expand(len(frames), -1, -1)
    assert torch.equal(smooth_in_time(w, frames, kind), w)


@pytest.mark.parametrize("kind", ["causal", "gaussian"])
def test_flicker_goes_and_slow_movement_stays(kind: str) -> None:
    t = torch.arange(60.0)
    slow = torch.sin(2 * torch.pi * t / 30)[:, None]
    shaken = slow + 0.3 * torch.randn(60, 1, generator=torch.Generator().manual_seed(1))
    out = smooth_in_time(shaken, range(60), kind)
    steps = [float((x.diff(dim=0) - slow.diff(dim=0)).square().mean()) for x in (out, shaken)]
    assert steps[0] < 0.5 * steps[1]
    late = 0.625 if kind == "causal" else 0.0  # frames, the kernel's mean
    wanted = torch.sin(2 * torch.pi * (t - late) / 30)[:, None]
    kept = smooth_in_time(slow, range(60), kind)
    assert float((kept - wanted)[3:-3].abs().max()) < 0.02


@pytest.mark.parametrize("kind", ["causal", "gaussian"])
def test_an_edit_keeps_its_bounds(kind: str) -> None:
    """It is added to the smoothed codes: nothing of it leaks over the ends of its range."""
    w, times = codes(20), torch.arange(20) / 10
    smooth = smooth_in_time(w, range(20), kind)
    edit = Edit("smile", 2.0, 0.5, 1.0)
    out = edit_codes(smooth, times, [edit], {"smile": Direction(torch.ones(5), "", "")}, 0.0)
    touched = (out != smooth).flatten(1).any(1).tolist()
    assert touched == [0.5 <= t <= 1.0 for t in times.tolist()]
    assert not torch.equal(smooth[2:], w[2:])


def test_both_codes_of_an_inversion_are_smoothed_and_it_renders() -> None:
    generator = tiny_generator()
    problem = own_clip(generator, 4, occluder=True)
    found = invert("in-n-out", generator, problem, steps=6)
    assert smooth_inversion(found, "none") is found
    given, phi = found.ws.clone(), found.ood["phi"].clone()
    apart = smooth_inversion(found, "gaussian")
    assert torch.equal(apart.ws, given), "the clip's frames are 1, 3, 5 and 7: no two are neighbours"
    found.frames[:] = range(4)
    smooth = smooth_inversion(found, "gaussian")
    assert torch.equal(found.ws, given) and torch.equal(found.ood["phi"], phi)
    torch.testing.assert_close(smooth.ood["phi"], smooth_in_time(phi, range(4), "gaussian"))
    torch.testing.assert_close(smooth.ws, smooth_in_time(given, range(4), "gaussian"))
    rows = np.arange(4)
    one, other = (
        InversionRenderer(generator, i).render(rows, problem.cam2world, problem.intrinsics).image
        for i in (found, smooth)
    )
    assert not torch.equal(one, other)


def test_unknown_kinds_are_told() -> None:
    with pytest.raises(UnknownNameError, match="'kalman'; known: none, causal, gaussian"):
        smooth_in_time(codes(2), range(2), "kalman")


def test_what_belongs_to_the_codes_is_smoothed_with_them() -> None:
    z, features = retracted(torch.randn(4, 3, 16)), torch.randn(4, 2, 8, 8)
    found = Inversion("w+", "", "tiny", np.arange(4), codes(4), {"z": z, "features": features})
    smooth = smooth_inversion(found, "gaussian").latent
    torch.testing.assert_close(smooth["features"], smooth_in_time(features, range(4), "gaussian"))
    assert not torch.equal(smooth["z"], z)
    torch.testing.assert_close(smooth["z"].norm(dim=-1), torch.full((4, 3), 4.0))
    assert smooth_inversion(found, "none") is found
