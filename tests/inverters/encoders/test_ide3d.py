"""IDE-3D's hybrid encoder against the official code's outputs, and a small one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from inverters.encoders.ide3d import HybridConfig, HybridEncoder, load_hybrid
from inverters.errors import CheckpointError
from inverters.generators.layers import fir_taps
from inverters.generators.unpickle import read_snapshot
from tests.inverters.encoders.rule import equalised, golden, image, keys, rule_dictionary
from tests.inverters.generators.rule import assert_close
from tests.inverters.generators.snapshot import write_snapshot
from tests.inverters.gradients import reaches
from tests.inverters.tiny import tiny_generator

SMALL = HybridConfig(size=32, classes=5, appearance=4, geometry=2, w_dim=16, channel_base=256, channel_max=16)


@torch.no_grad()
def test_rows_and_features_are_those_of_the_official_code() -> None:
    want, layout = golden("ide3d"), keys("ide3d", "E.state_dict()")
    filters = {name: fir_taps() for name in layout if name.endswith("resample_filter")}
    encoder = load_hybrid({"E": rule_dictionary(layout, (equalised("weight$"),)) | filters})
    labels = np.random.RandomState(103).randint(0, 19, (16, 16)).repeat(32, 0).repeat(32, 1)
    picture, segmentation = image(101, 512), encoder.one_hot(torch.from_numpy(labels)[None])
    assert_close(encoder(picture, segmentation), want["out"], 1e-5, 5e-6)
    for name, tower, x in (("img", encoder.convs_img, picture), ("seg", encoder.convs_seg, segmentation)):
        for k, unit in enumerate(tower):
            x = unit(x)
            step = max(x.shape[-1] // 8, 1)
            assert_close(x[:, ::8, ::step, ::step], want[f"{name}_{k}"], 1e-5, 5e-6)


def test_geometry_comes_from_the_segmentation_and_first() -> None:
    torch.manual_seed(0)
    encoder = HybridEncoder(SMALL)
    picture = torch.randn(2, 3, 32, 32)
    labels = torch.randint(0, 5, (2, 32, 32))
    segmentation = encoder.one_hot(labels)
    assert segmentation.shape == (2, 5, 32, 32) and torch.equal(segmentation.argmax(1), labels)
    assert segmentation.unique().tolist() == [-1, 1]
    found = encoder(picture, segmentation)
    assert found.shape == (2, 6, 16)
    other = encoder(picture.flip(-1), segmentation)
    assert torch.equal(other[:, :2], found[:, :2]) and not torch.equal(other[:, 2:], found[:, 2:])
    reaches(encoder, found)


@pytest.mark.parametrize("size", [4, 24])
def test_sizes_that_do_not_fit(size: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        HybridConfig(size=size)


def test_another_network_in_a_pickle_of_its_form(tmp_path: Path) -> None:
    path = tmp_path / "e.pkl"
    write_snapshot(path, tiny_generator(), lambda _, top: top.update(E=top.pop("G_ema")))
    with pytest.raises(CheckpointError, match=r"^'e\.pkl' does not fit .*: 120 tensors missing"):
        load_hybrid(read_snapshot(path, "E"), "'e.pkl'")
