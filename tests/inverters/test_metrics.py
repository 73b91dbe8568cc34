"""Metrics against closed forms, an independent implementation, and their own symmetries."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inverters import metrics
from inverters.errors import CheckpointError, UnknownNameError
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


@settings(max_examples=15)
@given(st.integers(0, 1000), st.integers(0, 1000))
def test_ssim_and_psnr_are_symmetric_and_best_for_equals(one: int, two: int) -> None:
    a, b = picture(one, 1), picture(two + 2000, 1)
    assert metrics.ssim(a, a).item() == pytest.approx(1.0, abs=1e-5)
    assert metrics.ssim(a, b).item() == pytest.approx(metrics.ssim(b, a).item(), abs=1e-6)
    assert metrics.ssim(a, b) < 0.9
    assert metrics.psnr(a, b).item() == pytest.approx(metrics.psnr(b, a).item(), abs=1e-5)


def plain_ms_ssim(x: np.ndarray, y: np.ndarray, scales: int) -> float:
    """MS-SSIM of one channel [H,W] on [0,1], straight from the paper, one window at a time."""
    axis = np.arange(11) - 5
    gauss = np.exp(-(axis**2) / (2 * 1.5**2))
    window = np.outer(gauss, gauss) / gauss.sum() ** 2
    powers = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:scales]
    powers = powers / powers.sum()
    value = 1.0
    for scale in range(scales):
        light, structure = [], []
        for i in range(x.shape[0] - 10):
            for j in range(x.shape[1] - 10):
                a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
                ma, mb = (window * a).sum(), (window * b).sum()
                va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
                ab = (window * (a - ma) * (b - mb)).sum()
                light.append((2 * ma * mb + 1e-4) / (ma**2 + mb**2 + 1e-4))
                structure.append((2 * ab + 9e-4) / (va + vb + 9e-4))
        last = scale == scales - 1
        term = np.mean(np.multiply(light, structure) if last else structure)
        value *= max(term, 0.0) ** powers[scale]
        height, width = x.shape[0] // 2 * 2, x.shape[1] // 2 * 2
        x, y = (t[:height, :width].reshape(height // 2, 2, width // 2, 2).mean((1, 3)) for t in (x, y))
    return float(value)


@pytest.mark.parametrize(("size", "scales"), [((11, 30), 1), ((23, 22), 2), ((47, 52), 3)])
def test_ms_ssim_agrees_with_the_paper_written_out(size: tuple[int, int], scales: int) -> None:
    height, width = size
    across = torch.linspace(-1, 1, width).expand(1, 3, height, width)
    a = (0.6 * across + 0.4 * picture(3, 1, max(size))[..., :height, :width]).double()
    b = (a + 0.4 * picture(4, 1, max(size))[..., :height, :width]).clamp(-1, 1)
    wanted = [plain_ms_ssim(*((t[0, c].numpy() + 1) / 2 for t in (a, b)), scales) for c in range(3)]
    assert metrics.ms_ssim(a, b).item() == pytest.approx(np.mean(wanted), abs=1e-9)
    assert 0.1 < np.mean(wanted) < 0.99


def test_ms_ssim_takes_five_scales_from_176_pixels_on() -> None:
    """Noise of single pixels is gone at the fifth scale: one scale fewer, and the score is clearly lower."""
    base = torch.linspace(-1, 1, 176).expand(1, 3, 176, 176).double()
    noisy = (base + 0.8 * picture(5, 1, 176)).clamp(-1, 1)
    full = metrics.ms_ssim(base, noisy)
    by_hand = torch.ones((), dtype=torch.float64)
    a, b = (base + 1) / 2, (noisy + 1) / 2
    for k, power in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        light, structure = metrics._similarity_maps(a, b)
        by_hand = by_hand * (light * structure if k == 4 else structure).mean((2, 3)) ** power
        a, b = (torch.nn.functional.avg_pool2d(t, 2) for t in (a, b))
    assert full.item() == pytest.approx(by_hand.mean().item(), abs=1e-9)
    assert (metrics.ms_ssim(base[..., :175], noisy[..., :175]) - full).abs() > 0.01
    with pytest.raises(ValueError, match="11 pixels"):
        metrics.ms_ssim(picture(0, size=10), picture(0, size=10))


@settings(max_examples=15)
@given(st.integers(0, 1000), st.integers(11, 60), st.floats(0.05, 0.5))
def test_measures_know_equals_swap_freely_and_fall_with_noise(seed: int, size: int, amount: float) -> None:
    a, noise = picture(seed, 1, size), picture(seed + 5000, 1, size)
    little, more = (a + amount * noise / 3), (a + amount * noise)
    for measure in (metrics.ssim, metrics.ms_ssim, metrics.psnr):
        assert measure(a, a).item() == pytest.approx(1.0, abs=1e-5) or torch.isinf(measure(a, a)).all()
        assert measure(a, more).item() == pytest.approx(measure(more, a).item(), abs=1e-5)
        assert measure(a, little) > measure(a, more)
    assert 0 <= metrics.ms_ssim(a, noise).item() <= 1


def test_flicker_is_what_changes_otherwise_than_the_truth() -> None:
    truth = 0.5 * picture(6, 5)
    steady = truth + 0.3 * picture(7, 1)  # the same error in every frame
    assert (metrics.temporal_psnr(steady, truth) > 120).all()
    assert torch.isinf(metrics.temporal_psnr(truth, truth)).all()
    blinking = truth.clone()
    blinking[2] += 0.2  # 0.1 of the range, in one frame: it comes and goes
    found = metrics.temporal_psnr(blinking, truth)
    assert found[1:3].tolist() == pytest.approx([20.0, 20.0], abs=1e-3)
    assert torch.isinf(found[[0, 3]]).all()
    assert metrics.temporal_psnr(truth[:1], truth[:1]).shape == (0,)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(0.02, 0.4))
def test_flicker_is_symmetric_and_grows_with_jitter(seed: int, amount: float) -> None:
    truth, jitter = 0.5 * picture(seed, 4), picture(seed + 3000, 4)
    little, more = truth + amount * jitter / 4, truth + amount * jitter
    torch.testing.assert_close(metrics.temporal_psnr(more, truth), metrics.temporal_psnr(truth, more))
    assert (metrics.temporal_psnr(little, truth) > metrics.temporal_psnr(more, truth)).all()


def embeddings(seed: int, n: int = 7) -> torch.Tensor:
    """Of one person: a common direction and some noise."""
    noise = torch.randn(n, 16, generator=torch.Generator().manual_seed(seed))
    return torch.ones(16) + 0.8 * noise


@settings(max_examples=25)
@given(st.integers(0, 1000), st.floats(0.1, 50.0))
def test_identity_is_a_cosine(seed: int, scale: float) -> None:
    a, b = embeddings(seed), embeddings(seed + 1)
    found = metrics.identity_similarity(a, b)
    assert found.abs().max() <= 1 + 1e-6
    torch.testing.assert_close(found, metrics.identity_similarity(b, scale * a))
    torch.testing.assert_close(metrics.identity_similarity(a, a), torch.ones(7))
    torch.testing.assert_close(metrics.identity_similarity(a, -a), -torch.ones(7))


@settings(max_examples=25)
@given(st.integers(0, 1000), st.sets(st.integers(0, 9), min_size=2))
def test_temporal_identity_over_pairs_written_out(seed: int, chosen: set[int]) -> None:
    frames = sorted(chosen)
    edited, source = embeddings(seed, len(frames)), embeddings(seed + 1, len(frames))
    local, everywhere = metrics.temporal_identity(edited, source, frames)

    def mean(e: torch.Tensor, pairs: list[tuple[int, int]]) -> float:
        return np.mean([torch.nn.functional.cosine_similarity(e[i], e[j], dim=0).item() for i, j in pairs])

    pairs = [(i, j) for i in range(len(frames)) for j in range(i)]
    assert everywhere == pytest.approx(mean(edited, pairs) / mean(source, pairs), abs=1e-5)
    beside = [(i, j) for i, j in pairs if frames[i] - frames[j] == 1]
    if beside:
        assert local == pytest.approx(mean(edited, beside) / mean(source, beside), abs=1e-5)
    else:
        assert local is None


def test_temporal_identity_of_a_video_that_keeps_loses_or_lacks_it() -> None:
    source = embeddings(3)
    assert metrics.temporal_identity(source, source) == pytest.approx((1.0, 1.0))
    person, other = torch.randn(2, 16, generator=torch.Generator().manual_seed(9))
    turned = torch.stack([person] * 4 + [other] * 4)  # steady, but for one frame that starts another person
    local, everywhere = metrics.temporal_identity(turned, torch.ones(8, 16))
    cosine = metrics.identity_similarity(person[None], other[None]).item()
    assert local == pytest.approx((6 + cosine) / 7, abs=1e-6)
    assert everywhere == pytest.approx((12 + 16 * cosine) / 28, abs=1e-6)
    assert metrics.temporal_identity(source[:1], source[:1]) == (None, None)


def test_leakage_is_the_mean_of_what_was_not_asked_for() -> None:
    change = torch.tensor([[2.0, -0.5, 0.25], [float("nan"), 1.0, float("nan")], [float("nan")] * 3])
    assert metrics.leakage(change, [0])[:2].tolist() == pytest.approx([0.375, 1.0])
    assert metrics.leakage(change, [0, 1])[0].item() == pytest.approx(0.25)
    assert torch.isnan(metrics.leakage(change, [0])[2])


def test_mask_iou() -> None:
    a = torch.zeros(3, 4, 4, dtype=torch.bool)
    b = torch.zeros(3, 4, 4, dtype=torch.bool)
    a[0, :2], b[0, 1:3] = True, True  # 4 shared of 12
    a[1, 0, 0] = True
    assert metrics.mask_iou(a, b).tolist() == pytest.approx([1 / 3, 0.0, 1.0])
    assert metrics.mask_iou(a, b, pooled=True).item() == pytest.approx(4 / 13)


@settings(max_examples=25)
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


def test_a_rotation_that_is_not_known_has_no_error() -> None:
    unknown = torch.stack([torch.eye(4), torch.full((4, 4), torch.nan)])
    found = metrics.rotation_error_deg(torch.eye(4).expand(2, 4, 4), unknown)
    assert found[0] == 0 and found[1].isnan()


def test_lpips_is_none_without_weights(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    metrics._lpips_network.cache_clear()
    assert metrics.lpips(picture(0), picture(1)) is None
    assert metrics.temporal_lpips(picture(0), picture(1), "vgg") is None
    with pytest.raises(UnknownNameError, match="squeeze"):
        metrics.lpips(picture(0), picture(1), net="resnet")
    metrics._lpips_network.cache_clear()


@pytest.mark.weights
@pytest.mark.parametrize(
    ("net", "expected"), [("alex", (0.722, 0.138)), ("squeeze", (0.711, 0.148))], ids=["alex", "squeeze"]
)
def test_lpips_gives_the_reference_values(net, expected, tmp_path, monkeypatch) -> None:
    """The two published example pairs, with the backbones' weights where they are at hand."""
    from pathlib import Path

    from PIL import Image
    from torchvision.models import alexnet

    folder = Path(__file__).resolve().parents[2] / "../shared/data/networks/lpips"
    if not folder.is_dir():
        pytest.skip("LPIPS's weights are not beside the repository")
    (tmp_path / "checkpoints").mkdir()
    cached = lpips_weights_in(tmp_path, net)
    if net == "squeeze":
        cached.symlink_to((folder / "squeezenet1_1_full_fp16classifier.pth").resolve())
    else:  # only the features are used, but torchvision wants the classifier too
        with torch.device("meta"):
            whole = {
                k: torch.zeros((), device="cpu").expand(v.shape) for k, v in alexnet().state_dict().items()
            }
        features = torch.load(folder / "alexnet_features_torchvision_keys.pth", weights_only=True)
        torch.save({k: features.get(k, v) for k, v in whole.items()}, cached)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path.parent))
    metrics._lpips_network.cache_clear()

    def read(name: str) -> torch.Tensor:
        pixels = torch.from_numpy(np.array(Image.open(folder / f"{name}.png").convert("RGB")))
        return pixels.permute(2, 0, 1)[None].float() / 127.5 - 1

    reference = read("ex_ref")
    for name, wanted in zip(("ex_p0", "ex_p1"), expected):
        found = metrics.lpips(reference, read(name), net=net)
        assert found is not None
        assert found.item() == pytest.approx(wanted, abs=2e-3)
    flicker = metrics.temporal_lpips(
        torch.cat([reference, read("ex_p0")]), torch.cat([reference, read("ex_p1")]), net
    )
    assert flicker is not None and flicker.tolist() == pytest.approx([expected[0] - expected[1]], abs=4e-3)
    metrics._lpips_network.cache_clear()


@pytest.mark.parametrize("kind", ["cut", "features", "text"])
def test_a_broken_file_of_lpips_is_named(kind, tmp_path, monkeypatch) -> None:
    (tmp_path / "checkpoints").mkdir()
    cached = lpips_weights_in(tmp_path, "squeeze")
    torch.save({"features.0.weight": torch.zeros(3)}, cached)
    if kind == "cut":
        cached.write_bytes(cached.read_bytes()[:-200])
    if kind == "text":
        cached.write_text("not found")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path.parent))
    metrics._lpips_network.cache_clear()
    with pytest.raises(CheckpointError, match=f"{cached.name}' has no weights of squeeze"):
        metrics.lpips(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64), net="squeeze")


def lpips_weights_in(hub, net: str):
    """The name under which torchvision's weights are looked for."""
    from inverters.fitting.losses import _BACKBONES

    return hub / "checkpoints" / _BACKBONES[net]
