"""ArcFace, pSp, e4e and the single-w encoder against the official code's outputs, and small ones of each."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from inverters.encoders.e4e import Encoder4Editing
from inverters.encoders.irse import ArcFace, IrseConfig, load_arcface
from inverters.encoders.psp import GradualStyleEncoder, PspConfig, SingleWEncoder, load_psp
from inverters.errors import CheckpointError
from inverters.generators.strict_loading import filled
from inverters.generators.torch_file import read_torch_file
from tests.inverters.encoders.rule import equalised, golden, image, keys, rule_dictionary
from tests.inverters.generators.rule import assert_close
from tests.inverters.gradients import reaches

BODY = IrseConfig(widths=(16, 16, 16, 32), units=(1, 1, 2, 2))
SMALL = PspConfig(size=32, num_ws=6, w_dim=16, coarse=2, middle=2, backbone=BODY)
LINEAR = (equalised(r"linear\.weight$"),)
STAGES = (0, 1, 3, 7, 10, 18)


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """Of 18 rows; networks of 14 rows and of a single w have some of the same names."""
    return rule_dictionary(keys("psp_e4e", "encoder, 18 styles"), LINEAR)


def part(weights: dict[str, Tensor], title: str) -> dict[str, Tensor]:
    layout = keys("psp_e4e", title)
    rest = rule_dictionary({name: layout[name] for name in layout if name not in weights}, LINEAR)
    return {name: tensor for name, tensor in weights.items() if name in layout} | rest


@torch.no_grad()
def test_first_rows_are_those_of_the_official_code() -> None:
    """Of coarse and middle features: rows do not depend on those after them."""
    want, x, config = golden("psp_e4e"), image(11, 256), PspConfig(num_ws=4)
    with torch.device("meta"):
        names = {f"encoder.{name}" for name in GradualStyleEncoder(config).state_dict()}
    layout = {name: entry for name, entry in keys("psp_e4e", "encoder, 18 styles").items() if name in names}
    drawn = rule_dictionary(layout, LINEAR)
    weights = {name.removeprefix("encoder."): tensor for name, tensor in drawn.items()}
    e4e = filled(lambda: Encoder4Editing(config), weights, "it")
    assert_close(e4e(x), want["e4e18_stage3"][:, :4], 5e-6, 5e-6)
    psp = filled(lambda: GradualStyleEncoder(config), weights, "it")
    assert_close(psp(x), want["psp18"][:, :4], 5e-6, 5e-6)


@pytest.mark.slow
@torch.no_grad()
def test_rows_are_those_of_the_official_code(weights: dict[str, Tensor]) -> None:
    want, x = golden("psp_e4e"), image(11, 256)
    file = {"state_dict": weights, "latent_avg": torch.ones(18, 512), "opts": {}}
    e4e, mean = load_psp(file, Encoder4Editing)
    assert mean is not None and torch.equal(mean, torch.ones(18, 512))
    for stage in STAGES:
        assert_close(e4e(x, stage), want[f"e4e18_stage{stage}"], 5e-6, 5e-6)
    assert_close(load_psp(file, GradualStyleEncoder)[0](x), want["psp18"], 5e-6, 5e-6)
    fewer = {"state_dict": part(weights, "encoder, 14 styles") | {"decoder.w": torch.zeros(1)}}
    assert_close(load_psp(fewer, Encoder4Editing)[0](x), want["e4e14_stage18"], 5e-6, 5e-6)
    psp, none = load_psp(fewer, GradualStyleEncoder)
    assert none is None
    assert_close(psp(x), want["psp14"], 5e-6, 5e-6)
    one = {"state_dict": part(weights, "encoder, single W"), "latent_avg": torch.ones(18, 512)}
    single, mean = load_psp(one, SingleWEncoder)
    assert mean is not None and mean.shape == (18, 512)
    assert_close(single(x), want["single_w"], 5e-6, 5e-6)


@torch.no_grad()
def test_arcface_is_that_of_the_official_code(tmp_path: Path) -> None:
    torch.save(rule_dictionary(keys("psp_e4e", "model_ir_se50.pth")), tmp_path / "model_ir_se50.pth")
    network = load_arcface(read_torch_file(tmp_path / "model_ir_se50.pth"))
    assert_close(network(image(111, 112)), golden("psp_e4e")["arcface"], 5e-6, 5e-6)


@pytest.mark.parametrize("rows", [12, 18])
def test_rows_come_from_three_grids(rows: int) -> None:
    with torch.device("meta"):
        encoder = GradualStyleEncoder(PspConfig(num_ws=rows))
    halvings = [len(head.convs) // 2 for head in encoder.styles]
    assert halvings == [4] * 3 + [5] * 4 + [6] * (rows - 7)
    assert encoder(torch.zeros(2, 3, 256, 256, device="meta")).shape == (2, rows, 512)


@torch.no_grad()
def test_e4e_adds_the_rows_of_a_stage_to_the_first() -> None:
    torch.manual_seed(0)
    psp = GradualStyleEncoder(SMALL).eval()
    e4e = filled(lambda: Encoder4Editing(SMALL), psp.state_dict(), "it")
    x = torch.randn(2, 3, 32, 32)
    rows = psp(x)
    for stage in (0, 3, 5, 99, None):
        last = 5 if stage is None else min(stage, 5)
        want = rows[:, :1].repeat(1, 6, 1)
        want[:, 1 : last + 1] += rows[:, 1 : last + 1]
        torch.testing.assert_close(e4e(x, stage), want)
    with pytest.raises(ValueError, match="no stage -1"):
        e4e(x, -1)


@pytest.mark.parametrize("network", [GradualStyleEncoder, Encoder4Editing, SingleWEncoder])
def test_gradients_reach_all_parameters(network: type) -> None:
    torch.manual_seed(0)
    encoder = network(SMALL)
    found = encoder(torch.randn(4, 3, 32, 32))
    assert found.shape == (4, 1 if network is SingleWEncoder else 6, 16)
    reaches(encoder, found)


def test_gradients_reach_all_parameters_of_arcface() -> None:
    torch.manual_seed(0)
    network = ArcFace(BODY, size=32, features=8)
    found = network(torch.randn(4, 3, 32, 32))
    torch.testing.assert_close(found.norm(dim=1), torch.ones(4))
    reaches(network, found)


@pytest.mark.parametrize("wrong", [{"size": 48}, {"size": 16}, {"coarse": 0}, {"coarse": 7}])
def test_sizes_that_do_not_fit(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        PspConfig(**{"num_ws": 6} | wrong)


def rows_of(count: int) -> dict[str, Tensor]:
    return {f"encoder.styles.{row}.linear.bias": torch.zeros(512) for row in range(count)}


def test_options_name_another_network() -> None:
    file = {"state_dict": rows_of(18), "opts": {"encoder_type": "Encoder4Editing"}}
    with pytest.raises(CheckpointError, match=r"type 'Encoder4Editing'; expected GradualStyleEncoder$"):
        load_psp(file, GradualStyleEncoder, "'a.pt'")
    with pytest.raises(CheckpointError, match=r"'a\.pt': its encoder does not fit its architecture"):
        load_psp(file, Encoder4Editing, "'a.pt'")


@pytest.mark.parametrize("count", [0, 2, 21])
def test_rows_that_no_generator_has(count: int) -> None:
    state = rows_of(count) | {"decoder.w": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=f"networks for {count} rows of w; expected 3 to 20"):
        load_psp({"state_dict": state}, GradualStyleEncoder)
