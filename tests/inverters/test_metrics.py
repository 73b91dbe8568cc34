"""Metrics against closed forms, an independent implementation, and their own symmetries."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inverters import metrics
from inverters.rendering.cameras import look_at


def picture(seed: int, n: int = 2, size: int = 24) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_psnr_of_a_known_error() -> None:
    dark = torch.full((1, 3, 8, 8), -1.0)
    lighter = torch.full((1, 3, 8, 8), -0.8)  # 0.1 of the range [0,1]
    assert metrics.psnr(dark, lighter).item() == pytest.approx(20.0, abs=1e-4)
    assert math.isinf(metrics.psnr(dark, dark).item())


def test_psnr_looks_only_inside_its_mask() -> None:
    a, b = picture(0), picture(0)
    b[:, :, :12] = 1 - b[:, :, :12]
    lower = torch.zeros(2, 1, 24, 24)
    lower[:, :, 12:] = 1
    assert torch.isinf(metrics.psnr(a, b, lower)).all()
    assert (metrics.psnr(a, b, 1 - lower) < metrics.psnr(a, b)).all()
    assert torch.isnan(metrics.psnr(a, b, torch.zeros(2, 24, 24))).all()


def test_ssim_agrees_with_scikit_image() -> None:
    skimage = pytest.importorskip("skimage.metrics")
    a = picture(1, size=40)
    b = (a + 0.3 * picture(2, size=40)).clamp(-1, 1)
    ours = metrics.ssim(a, b)
    for k in range(2):
        x, y = ((t[k].permute(1, 2, 0).double().numpy() + 1) / 2 for t in (a, b))
        theirs = skimage.structural_similarity(
            x,
            y,
            channel_axis=2,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
        )
        assert ours[k].item() == pytest.approx(theirs, abs=2e-5)


def test_ssim_refuses_what_its_window_does_not_fit() -> None:
    with pytest.raises(ValueError, match="11 pixels"):
        metrics.ssim(picture(0, size=10), picture(0, size=10))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 1000))
def test_ssim_and_psnr_are_symmetric_and_best_for_equals(one: int, two: int) -> None:
    a, b = picture(one, 1), picture(two + 2000, 1)
    assert metrics.ssim(a, a).item() == pytest.approx(1.0, abs=1e-5)
    assert metrics.ssim(a, b).item() == pytest.approx(metrics.ssim(b, a).item(), abs=1e-6)
    assert metrics.ssim(a, b) < 0.9
    assert metrics.psnr(a, b).item() == pytest.approx(metrics.psnr(b, a).item(), abs=1e-5)


def test_mask_iou() -> None:
    a = torch.zeros(3, 4, 4, dtype=torch.bool)
    b = torch.zeros(3, 4, 4, dtype=torch.bool)
    a[0, :2], b[0, 1:3] = True, True  # 4 shared of 12
    a[1, 0, 0] = True
    assert metrics.mask_iou(a, b).tolist() == pytest.approx([1 / 3, 0.0, 1.0])
    assert metrics.mask_iou(a, b, pooled=True).item() == pytest.approx(4 / 13)


@settings(max_examples=25, deadline=None)
@given(st.floats(-3.0, 3.0))
def test_rotation_error_is_the_angle_between_two_yaws(angle: float) -> None:
    pivot = (0.0, 0.0, 0.0)
    one, two = look_at(0.0, 0.0, pivot=pivot), look_at(angle, 0.0, pivot=pivot)
    found = metrics.rotation_error_deg(one, two).item()
    assert found == pytest.approx(abs(math.degrees(angle)), abs=1e-3)


def test_rotation_error_is_exact_near_zero() -> None:
    small = torch.eye(3, dtype=torch.float64)[None].clone()
    angle = 1e-6
    small[0, :2, :2] = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    found = metrics.rotation_error_deg(torch.eye(3)[None], small).item()
    assert found == pytest.approx(math.degrees(angle), rel=1e-4)


def test_lpips_is_none_without_weights(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    metrics._lpips_network.cache_clear()
    assert metrics.lpips(picture(0), picture(1)) is None
    metrics._lpips_network.cache_clear()


@pytest.mark.weights
def test_lpips_gives_the_reference_values(tmp_path, monkeypatch) -> None:
    """The two published example pairs, with SqueezeNet's weights where they are at hand."""
    from pathlib import Path

    from PIL import Image

    folder = Path(__file__).resolve().parents[2] / "../shared/data/networks/lpips"
    weights = folder / "squeezenet1_1_full_fp16classifier.pth"
    if not weights.exists():
        pytest.skip("SqueezeNet's weights are not beside the repository")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "squeezenet1_1-b8a52dc0.pth").symlink_to(weights.resolve())
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path.parent))
    metrics._lpips_network.cache_clear()

    def read(name: str) -> torch.Tensor:
        pixels = torch.from_numpy(np.array(Image.open(folder / f"{name}.png").convert("RGB")))
        return pixels.permute(2, 0, 1)[None].float() / 127.5 - 1

    reference = read("ex_ref")
    for name, expected in (("ex_p0", 0.711), ("ex_p1", 0.148)):
        found = metrics.lpips(reference, read(name), net="squeeze")
        assert found is not None
        assert found.item() == pytest.approx(expected, abs=2e-3)
    metrics._lpips_network.cache_clear()
