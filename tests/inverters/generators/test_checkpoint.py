"""Our own form of a generator: what is written is read again, what does not belong together is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from inverters.errors import CheckpointError
from inverters.generators import load
from inverters.generators.card import CameraRule, CropRule, GeneratorCard
from inverters.generators.checkpoint import fingerprint, save_generator
from inverters.generators.eg3d import Generator
from inverters.generators.load import load_generator
from tests.inverters.generators.test_eg3d import BASE, made


def full_card() -> GeneratorCard:
    rng = np.random.default_rng(0)
    return dataclasses.replace(
        GeneratorCard.default(BASE, "little"),
        w_avg=torch.randn(16),
        w_std=torch.rand(16),
        crop_rule=CropRule(rescale_factor=280.0, points3d=((0.5, 1.0, 2.0),) * 5),
        camera_rule=CameraRule(pivot=(0.0, 0.1, 0.2), focal=4.0),
        landmarks3d={"68": rng.normal(size=(68, 3)).astype(np.float32)},
        directions={"smile": torch.randn(8, 16), "age": torch.randn(16)},
        parameters=("smile", "age"),
        reports={"psnr": {"0.3": 25.5}},
        licence="Apache-2.0",
    )


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Generator, GeneratorCard]:
    generator, path = made(), tmp_path / "folder" / "little.safetensors"
    return path, generator, save_generator(path, generator, full_card())


def test_round_trip(saved: tuple[Path, Generator, GeneratorCard]) -> None:
    path, generator, card = saved
    found, card = load_generator(path), dataclasses.replace(card, path=path)
    assert found.config == generator.config
    for name, want in generator.state_dict().items():
        assert torch.equal(found.state_dict()[name], want.half().float()), name
    assert all(v.dtype == torch.float32 for v in found.state_dict().values())
    assert not any(p.requires_grad for p in found.parameters()) and not found.training
    for f in dataclasses.fields(GeneratorCard):
        a, b = getattr(found.card, f.name), getattr(card, f.name)
        if isinstance(a, torch.Tensor):
            assert torch.equal(a, b), f.name
        elif isinstance(a, dict):
            assert list(a) == sorted(b), f.name
        else:
            assert a == b, f.name
    assert np.array_equal(found.card.landmarks3d["68"], card.landmarks3d["68"])
    assert torch.equal(found.card.directions["smile"], card.directions["smile"])
    assert found.card.reports == card.reports
    assert not list(path.parent.glob("*.part"))


def test_full_precision_and_other_axes(tmp_path: Path) -> None:
    generator, path = made(), tmp_path / "g.safetensors"
    save_generator(path, generator, dtype=torch.float32)
    found = load_generator(path, plane_axes="fixed")
    assert all(torch.equal(v, generator.state_dict()[k]) for k, v in found.state_dict().items())
    assert found.config.plane_axes == "fixed" and found.card.config.plane_axes == "fixed"
    assert load_generator(path).config.plane_axes == "original"


def test_a_large_generator_takes_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator, path = made(), tmp_path / "g.safetensors"
    whole = save_generator(path, generator)
    monkeypatch.setattr("inverters.generators.checkpoint.MAX_FILE_BYTES", path.stat().st_size // 3)
    card = save_generator(path, generator)
    files = sorted(tmp_path.glob("g.*safetensors"))
    assert len(files) > 2 and card.fingerprint == whole.fingerprint
    found = load_generator(path)
    assert all(
        torch.equal(v, generator.state_dict()[k].half().float()) for k, v in found.state_dict().items()
    )
    (tmp_path / "g.2.safetensors").unlink()
    refused(path, "'g.2.safetensors' is missing")


def test_fingerprint_is_of_the_weights_alone(saved: tuple[Path, Generator, GeneratorCard]) -> None:
    path, generator, card = saved
    other = path.with_name("other.safetensors")
    assert save_generator(other, generator).fingerprint == card.fingerprint
    weights = {k: v.half() for k, v in generator.state_dict().items()}
    assert fingerprint(weights) == card.fingerprint
    assert fingerprint(dict(reversed(weights.items()))) == card.fingerprint
    for change in ("value", "shape", "name", "precision"):
        changed = {k: v.clone() for k, v in weights.items()}
        tensor = changed["decoder.net.0.bias"]
        if change == "value":
            tensor[3] += 1
        elif change == "shape":
            changed["decoder.net.0.bias"] = tensor[None]
        elif change == "name":
            changed["decoder.net.0.bia"] = changed.pop("decoder.net.0.bias")
        else:
            changed["decoder.net.0.bias"] = tensor.float()
        assert fingerprint(changed) != card.fingerprint, change


def refused(path: Path | str, match: str) -> None:
    with pytest.raises(CheckpointError, match=match) as caught:
        load_generator(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_missing_and_damaged_files(saved: tuple[Path, Generator, GeneratorCard], tmp_path: Path) -> None:
    path, _, _ = saved
    card = path.with_suffix(".json")
    refused(tmp_path / "none.safetensors", "there is no generator")
    refused(card, "a name ending in .pkl or .safetensors")
    whole, text = path.read_bytes(), card.read_text()
    long = b'{"a": {"dtype": "%s", "shape": [1], "data_offsets": [0, 4]}}' % (b"x" * 9000)
    quoted = len(long).to_bytes(8, "little") + long + bytes(4)
    for part in (b"", whole[:5], whole[: len(whole) // 2], b"not tensors at all" * 10, quoted):
        path.write_bytes(part)
        refused(path, "truncated or is not a safetensors file")
    path.write_bytes(whole)
    card.unlink()
    refused(path, "has no card: 'little.json' is missing")
    for changed, match in (
        ("{", "is damaged"),
        ("[]", "is not the card"),
        (json.dumps({"format": "other"}), "is not the card"),
        (text.replace('"version": 1', '"version": 99'), "version 99"),
        (text.replace('"z_dim"', '"zdim"'), "unknown entries: zdim"),
        (text.replace('"z_dim"', f'"{"x" * 9000}"'), "unknown entries: xxx"),
        (text.replace('"w_dim": 16', '"w_dim": 17'), r"w_avg has shape \[16\]"),
        (text.replace('"smile"', '"frown"'), "is damaged"),
    ):
        card.write_text(changed)
        refused(path, match)
    card.write_text(text)
    save_generator(path.with_name("b.safetensors"), Generator(BASE))
    path.with_name("b.json").write_text(text)
    refused(path.with_name("b.safetensors"), "belongs to the weights")


def test_bundled_generator_is_known_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "BUNDLED", tmp_path / "bundled.safetensors")
    refused("bundled", "the bundled generator is not part of this installation")
    save_generator(tmp_path / "bundled.safetensors", made(), full_card())
    assert load_generator("bundled").card.name == "little"


def test_loading_leaves_the_global_random_state(saved: tuple[Path, Generator, GeneratorCard]) -> None:
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    load_generator(saved[0])
    assert torch.equal(torch.rand(3), want)


def test_a_name_without_the_ending_and_a_folder_that_is_a_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"ends in \.safetensors"):
        save_generator(tmp_path / "g.bin", made())
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write"):
        save_generator(tmp_path / "file" / "g.safetensors", made())


def test_the_generator_that_ships() -> None:
    found = load_generator("bundled")
    assert load.BUNDLED.stat().st_size < 16e6
    assert found.config.img_resolution == 256 and found.num_ws == found.config.num_ws
    assert {"smile", "age"} <= set(found.card.directions)
    assert found.card.landmarks3d["68"].shape == (68, 3)
    assert len(found.card.parameters) > 20 and torch.isfinite(found.card.w_std).all()
    assert all(torch.isfinite(v).all() for v in found.state_dict().values())
