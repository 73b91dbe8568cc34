"""Our own file form of encoders: what is written is read, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from inverters.encoders.configs import config_of
from inverters.encoders.e3dge_branch import BranchConfig
from inverters.encoders.e3dge_local import LocalConfig
from inverters.encoders.e3dge_triplane import E3DGETriplaneConfig
from inverters.encoders.e4e_mask import E4eMaskConfig
from inverters.encoders.encoder_file import EncoderCard, load_encoder, read_encoder_card, save_encoder
from inverters.encoders.first_stage import input_size
from inverters.encoders.goae_afa import AfaConfig
from inverters.encoders.goae_encoder import GoaeEncoderConfig
from inverters.encoders.goae_network import GoaeConfig
from inverters.encoders.hourglass import HourglassConfig
from inverters.encoders.irse import IrseConfig
from inverters.encoders.psp import PspConfig
from inverters.encoders.swin import SwinConfig
from inverters.encoders.table import KINDS, first_stage, kind_of, see
from inverters.encoders.triplanenet import OffsetConfig, TriPlaneNetConfig
from inverters.errors import CheckpointError, FingerprintError, UnknownNameError

_PSP = PspConfig(
    size=32, num_ws=4, w_dim=8, head=6, backbone=IrseConfig(12, widths=(8, 8, 8, 8), units=(1, 1, 1, 1))
)
_SWIN = SwinConfig(32, 2, 8, (1, 1, 1, 1), (1, 1, 1, 1), 4, (0, 0, 0, 0))
_MASK = E4eMaskConfig(16, (8, 8), hidden=8, rank=2, mask_width=4, num_ws=4, w_dim=8)
_OFFSETS = OffsetConfig("v2", "nearest", False, (4, 4, 4, 4), 32, 16, 12, (4, 4, 4, 4), (1, 1, 1, 1))
_LOCAL = LocalConfig(HourglassConfig(4, 16, 1, 1, 2), 2, 4, "paper", "plain")
_AFA = AfaConfig(16, 4, 8, IrseConfig(widths=(8, 8), units=(1, 1)), heads=2)
CONFIGS: dict[str, Any] = {
    "e3dge": E3DGETriplaneConfig(_MASK, BranchConfig(16, _LOCAL, (4, 4, 4, 4), "paper"), 8),
    "psp": _PSP,
    "e4e": _PSP,
    "e4e-mask": _MASK,
    "triplanenet": TriPlaneNetConfig(_MASK, _OFFSETS),
    "goae": GoaeConfig(_MASK, _AFA, mix="paper"),
    "goae-w+": GoaeEncoderConfig(_SWIN, w_dim=8, num_ws=9, heads=2),
}


def write(folder: Path, name: str = "e4e-mask") -> Path:
    torch.manual_seed(0)
    network = kind_of(name).build(CONFIGS[name]).eval()
    path = folder / "mine.safetensors"
    save_encoder(path, network, EncoderCard(name, CONFIGS[name], "faces", "a" * 64), torch.float32)
    return path


def test_every_kind_is_tried() -> None:
    assert set(CONFIGS) == set(KINDS)


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_what_is_written_is_read(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, name)
    torch.manual_seed(0)
    network = kind_of(name).build(CONFIGS[name]).eval()
    found = load_encoder(path)
    assert found.card.config == CONFIGS[name] and found.card == read_encoder_card(path)
    side = input_size(first_stage(network))
    images = torch.rand(2, 3, side, side) * 2 - 1
    with torch.no_grad():
        wanted = see(network, images)
    got = found.see(images)
    torch.testing.assert_close(got.offsets, wanted.offsets)
    assert got.offsets.shape == (2, 9 if name == "goae-w+" else 4, 8)
    if name in ("e3dge", "e4e-mask", "goae", "triplanenet"):
        assert wanted.mask is not None and got.mask is not None
        torch.testing.assert_close(got.mask, wanted.mask)
        assert got.mask.shape == (2, 1, 8, 8)
    else:
        assert got.mask is None


def test_choices_within_a_configuration() -> None:
    """Which first branch a TriPlaneNet has is told by the names of its sizes."""
    for codes in (_MASK, replace(_PSP, backbone=IrseConfig())):
        whole = TriPlaneNetConfig(codes, _OFFSETS)
        assert config_of(TriPlaneNetConfig, json.loads(json.dumps(asdict(whole)))) == whole
    values = asdict(TriPlaneNetConfig(_MASK, _OFFSETS))
    wrong = [{"release": "v3"}, {"release": 1}, {"last_prelu": 1}, {"upsampling": [1]}, {"size": True}]
    for change in wrong:
        with pytest.raises((ValueError, TypeError), match=f"its {next(iter(change))} is"):
            config_of(TriPlaneNetConfig, values | {"offsets": values["offsets"] | change})
    for codes in (3, {"hidden": 8, "units": 1}):
        with pytest.raises((ValueError, TypeError), match=r"its (codes|configuration)"):
            config_of(TriPlaneNetConfig, values | {"codes": codes})


def test_goaes_own_first_stage_is_read_with_its_tables(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = GoaeConfig(CONFIGS["goae-w+"], _AFA)
    network, path = kind_of("goae").build(config).eval(), tmp_path / "whole.safetensors"
    save_encoder(path, network, EncoderCard("goae", config, "faces", "a" * 64), torch.float32)
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(load_encoder(path).see(images).offsets, see(network, images).offsets)


def test_pictures_of_any_size_are_seen(tmp_path: Path) -> None:
    found = load_encoder(write(tmp_path))
    assert found.see(torch.zeros(1, 3, 37, 37)).offsets.shape == (1, 4, 8)


def test_another_generator_is_named_with_its_own(tmp_path: Path) -> None:
    card = read_encoder_card(write(tmp_path))
    card.check_generator("faces", "a" * 64)
    with pytest.raises(FingerprintError) as error:
        card.check_generator("cats", "b" * 64)
    assert all(text in str(error.value) for text in ("faces", "cats", "a" * 12, "b" * 12))


def _card(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        values = json.loads(path.with_suffix(".json").read_text())
        change(values)
        path.with_suffix(".json").write_text(json.dumps(values))

    return damage


def _set(**changes: Any) -> Callable[[Path], None]:
    return _card(lambda values: values.update(changes))


def _set_size(name: str, value: Any) -> Callable[[Path], None]:
    return _card(lambda values: values["config"].update({name: value}))


def _without_card(path: Path) -> None:
    path.with_suffix(".json").unlink()


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-50])


def _other_weights(path: Path) -> None:
    weights = load_file(path)
    weights["base.bias"] += 1
    save_file(weights, path)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_without_card, "has no card"),
        (_truncate, "truncated"),
        (_other_weights, "belongs to the weights"),
        (_set(format="invid-generator"), "is not the card of an encoder"),
        (_set(version=9), "has version 9"),
        (_set(network="vgg"), "is damaged .UnknownNameError"),
        (_set(network=["e4e"]), "is damaged .TypeError"),
        (_set(fingerprint=3), "is damaged .TypeError"),
        (_set(config=[1]), "is damaged"),
        (_set_size("hidden", 10**9), "is damaged .ValueError"),
        (_set_size("hidden", -1), "is damaged .ValueError"),
        (_set_size("hidden", True), "is damaged .ValueError"),
        (_set_size("widths", [8] * 1000), "is damaged .ValueError"),
        (_set_size("widths", [8, [8]]), "is damaged .ValueError"),
        (_set_size("tail", 3), "is damaged .ValueError"),
        (_set_size("hidden", 16), "does not fit its architecture"),
        (lambda path: path.with_suffix(".json").write_text("[" * 100_000), "cannot read the card"),
        (lambda path: path.unlink(), "there is no encoder"),
    ],
)
def test_files_that_are_refused(damage: Callable[[Path], None], says: str, tmp_path: Path) -> None:
    path = write(tmp_path)
    damage(path)
    with pytest.raises(CheckpointError, match=says) as error:
        load_encoder(path)
    assert "\n" not in str(error.value)


def test_weights_that_are_not_numbers(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    network = kind_of("e4e-mask").build(CONFIGS["e4e-mask"])
    with torch.no_grad():
        network.base.bias[0] = float("nan")
    save_encoder(path, network, EncoderCard("e4e-mask", CONFIGS["e4e-mask"], "faces", "a"))
    with pytest.raises(CheckpointError, match=r"'base\.bias' with 1 of 8 weights that are not finite"):
        load_encoder(path)


def test_names_and_sizes_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown encoder 'vgg'; known: e3dge, e4e, e4e-mask"):
        kind_of("vgg")
    for wrong in ({"size": 20}, {"widths": ()}, {"widths": (8, 9)}, {"rank": 0}):
        with pytest.raises(ValueError, match=r"."):
            replace(E4eMaskConfig(), **wrong)  # type: ignore[arg-type]
    network = kind_of("e4e-mask").build(CONFIGS["e4e-mask"])
    with pytest.raises(CheckpointError, match=r"ends in \.safetensors"):
        save_encoder(tmp_path / "a.pt", network, EncoderCard("e4e-mask", CONFIGS["e4e-mask"], "", ""))
