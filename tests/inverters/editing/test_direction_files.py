"""Files of directions: ours with their card, what other projects publish, and what is refused."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from inverters.editing.direction_files import load_directions, read_directions, save_directions
from inverters.editing.directions import Direction, Directions
from inverters.editing.styleclip import LevelsMapper
from inverters.errors import CheckpointError, FingerprintError, InverterError
from inverters.generators.config import GeneratorConfig
from inverters.generators.eg3d import Generator
from tests.inverters.tiny import tiny_generator

DATA = Path(__file__).resolve().parents[3] / "../shared/data/eg3d/directions"
GENERATOR = tiny_generator()
WIDTH, ROWS = 16, 6


def values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def write(path: Path, content: Any) -> Path:
    """By the ending: .npy, .npz, or torch's two forms."""
    if path.suffix == ".npy":
        np.save(path, content)
    elif path.suffix == ".npz":
        np.savez(path, **content)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=path.suffix != ".pth")
    return path


def refused(path: Path, *told: str) -> None:
    with pytest.raises(InverterError) as caught:
        load_directions(path, GENERATOR)
    message = str(caught.value)
    assert "\n" not in message and path.name in message, message
    for part in told:
        assert part in message, message


def test_the_card_survives_its_file(tmp_path: Path) -> None:
    named = {
        "smile": Direction(torch.from_numpy(values(WIDTH)), "unit norm", "by hand"),
        "age": Direction(torch.from_numpy(values(ROWS, WIDTH)), "one step", "InterfaceGAN"),
    }
    path = tmp_path / "mine.safetensors"
    save_directions(path, Directions(named, GENERATOR.card.fingerprint, "tiny"))
    found = load_directions(path, GENERATOR, allow_unmarked=False)
    assert (found.fingerprint, found.generator) == (GENERATOR.card.fingerprint, "tiny")
    assert list(tmp_path.iterdir()) == [path]
    for name, one in named.items():
        back = found.named[name]
        assert torch.equal(back.step, one.step)
        assert (back.space, back.unit, back.method) == (one.space, one.unit, one.method)


def test_directions_of_another_generator_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    named = {"smile": Direction(torch.ones(WIDTH), "", "")}
    save_directions(path, Directions(named, "0123456789abcdef", "elsewhere"))
    refused(path, "'elsewhere' (0123456789ab)", "'untrained' (tiny)")
    assert set(read_directions(path).named) == {"smile"}
    save_file({"smile": torch.ones(WIDTH)}, tmp_path / "plain.safetensors")
    assert load_directions(tmp_path / "plain.safetensors", GENERATOR).fingerprint is None
    with pytest.raises(FingerprintError, match="does not say"):
        load_directions(tmp_path / "plain.safetensors", GENERATOR, allow_unmarked=False)


@settings(max_examples=60)
@given(
    shape=st.sampled_from([(WIDTH,), (1, WIDTH), (1, 1, WIDTH), (ROWS, WIDTH), (1, ROWS, WIDTH)]),
    kind=st.sampled_from(["f2", "f4", "f8", ">f4"]),
    fortran=st.booleans(),
    ending=st.sampled_from([".npy", ".npz", ".pt", ".pth"]),
    seed=st.integers(0, 99),
)
def test_every_shape_in_every_container_is_the_same_direction(
    tmp_path_factory: pytest.TempPathFactory,
    shape: tuple[int, ...],
    kind: str,
    fortran: bool,
    ending: str,
    seed: int,
) -> None:
    array = values(*shape, seed=seed).astype(kind)
    array = np.asfortranarray(array) if fortran else array
    if ending in (".pt", ".pth"):
        native = array.astype(array.dtype.newbyteorder("="))
        content: Any = torch.from_numpy(native)
    else:
        content = {"smile": array} if ending == ".npz" else array
    path = write(tmp_path_factory.mktemp("d") / f"smile{ending}", content)
    (name, one), *more = load_directions(path, GENERATOR).named.items()
    assert name == "smile" and not more
    wanted = array.astype(np.float32).reshape(-1, WIDTH)
    assert one.space == ("w+" if len(wanted) == ROWS else "w")
    assert isinstance(one.step, torch.Tensor)
    np.testing.assert_array_equal(one.step.reshape(-1, WIDTH).numpy(), wanted)


def test_rows_that_are_all_equal_are_in_w_and_still_counted(tmp_path: Path) -> None:
    row = values(WIDTH)
    one = load_directions(write(tmp_path / "age.npy", np.tile(row, (1, ROWS, 1))), GENERATOR).named["age"]
    assert one.space == "w" and one.norm == pytest.approx(np.linalg.norm(row), rel=1e-6)
    refused(write(tmp_path / "age.npy", np.tile(row, (18, 1))), "18 rows are made for a 2D StyleGAN2")


def test_a_torch_archive_under_a_numpy_name_is_read(tmp_path: Path) -> None:
    step = torch.from_numpy(values(1, WIDTH))
    torch.save(step, tmp_path / "x.pt")
    for name in ("cat.npy", "cat.npz", "cat"):
        (tmp_path / name).write_bytes((tmp_path / "x.pt").read_bytes())
        one = load_directions(tmp_path / name, GENERATOR).named["cat"]
        assert isinstance(one.step, torch.Tensor) and torch.equal(one.step, step[0])


def test_a_basis_is_as_many_directions_as_it_has_rows(tmp_path: Path) -> None:
    basis = np.asfortranarray(values(WIDTH, WIDTH))
    found = load_directions(write(tmp_path / "pca.npy", basis), GENERATOR).named
    assert list(found) == [f"pca.{k}" for k in range(WIDTH)]
    for k in range(WIDTH):
        np.testing.assert_array_equal(np.asarray(found[f"pca.{k}"].step), basis[k])


@pytest.mark.parametrize(
    ("keys", "ending"),
    [(("mean", "comp", "std"), ".pt"), (("lat_mean", "lat_comp", "lat_stdev"), ".npz")],
)
def test_ganspace_tables_are_steps_of_one_deviation(
    tmp_path: Path, keys: tuple[str, str, str], ending: str
) -> None:
    mean, components, spread = values(1, WIDTH), values(5, 1, WIDTH, seed=1), np.abs(values(5, seed=2))
    table: dict[str, Any] = dict(zip(keys, (mean, components, spread), strict=True))
    if ending == ".pt":
        table = {k: torch.from_numpy(v) for k, v in table.items()}
    found = load_directions(write(tmp_path / f"ffhq{ending}", table), GENERATOR).named
    assert len(found) == 5 and "deviation" in found["ffhq.0"].unit
    for k in range(5):
        np.testing.assert_allclose(
            np.asarray(found[f"ffhq.{k}"].step), components[k, 0] * spread[k], rtol=1e-6
        )
    table[keys[2]] = table[keys[2]][:4]
    refused(write(tmp_path / f"ffhq{ending}", table), "5 components but 4 deviations")
    for empty in (values(0), values(3, 0), np.float32(1)):
        table[keys[1]] = torch.as_tensor(empty) if ending == ".pt" else empty
        refused(write(tmp_path / f"ffhq{ending}", table), "components of shape")


@pytest.mark.parametrize("ending", [".npy", ".npz", ".pt", ".pth"])
@pytest.mark.parametrize(
    ("array", "told"),
    [
        (values(18, WIDTH), "18 rows are made for a 2D StyleGAN2"),
        (values(1, 18, WIDTH), "18 rows are made for a 2D StyleGAN2"),
        (values(512), "has shape [512]"),
        (values(4, WIDTH), "[16] or [6,16]"),
        (values(3, ROWS, WIDTH), "[w_dim], [num_ws,w_dim]"),
        (values(0, WIDTH), "has shape [0, 16]"),
        (np.float32(1), "has shape []"),
        (np.arange(WIDTH), "int64 [16]"),
        (np.zeros(WIDTH, np.float32), "is zero"),
        (np.full(WIDTH, np.nan, np.float32), "not finite"),
        (np.array([1e300] + [1.0] * 15), "not finite"),
    ],
)
def test_what_is_no_direction_is_refused_in_one_line(
    tmp_path: Path, ending: str, array: Any, told: str
) -> None:
    content: Any = np.asarray(array)
    if ending in (".pt", ".pth"):
        content = torch.from_numpy(content)
    refused(write(tmp_path / f"smile{ending}", {"smile": content} if ending == ".npz" else content), told)


@pytest.mark.parametrize("ending", [".pt", ".pth"])
def test_nothing_in_a_torch_file_is_ever_run(tmp_path: Path, ending: str) -> None:
    class Code:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    for k, content in enumerate(
        (Code(), {"smile": torch.ones(WIDTH), "x": Code()}, argparse.Action([], "x"))
    ):
        refused(write(tmp_path / f"code{k}{ending}", content), "refused")
    np.save(tmp_path / "objects.npy", np.array([Code()]), allow_pickle=True)
    refused(tmp_path / "objects.npy", "plain numpy file")
    assert not (tmp_path / "ran").exists()


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.safetensors").write_text("not tensors")
    (tmp_path / "code.pkl").write_bytes(b"cos\nsystem\n.")
    (tmp_path / "empty.npy").touch()
    save_file({"x": torch.ones(3)}, tmp_path / "codes.safetensors", {"invid": json.dumps({"kind": "codes"})})
    np.savez(tmp_path / "2x.npz", **{"2x": values(WIDTH)})
    torch.save([torch.ones(WIDTH)], tmp_path / "list.pt")
    torch.save({"w": torch.ones(WIDTH), "step": 3}, tmp_path / "mixed.pt")
    for name, told in {
        "text.safetensors": "cannot be read",
        "code.pkl": "not a file of directions",
        "empty.npy": "not a file of directions",
        "codes.safetensors": "it holds codes",
        "2x.npz": "'2x'",
        "list.pt": "holds a list",
        "mixed.pt": "a table of step, w",
        "missing.npy": "no file",
        ".": "no file",
    }.items():
        with pytest.raises(CheckpointError, match=told):
            load_directions(tmp_path / name, GENERATOR)


def test_a_message_quotes_a_little_of_a_file(tmp_path: Path) -> None:
    long = "x" * 100_000
    save_file({long: torch.zeros(WIDTH)}, tmp_path / "name.safetensors")
    header = json.dumps({"smile": {"dtype": long, "shape": [1], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "kind.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    np.savez(tmp_path / "table.npz", **{long[:9000]: np.array(["x"])})
    torch.save({long: torch.ones(WIDTH), "step": 3}, tmp_path / "table.pt")
    card = {"kind": "directions", "fingerprint": "0" * 64, "generator": long}
    for name, said in {"smile": {}, "other": {"kind": long}}.items():
        tensors = {"smile": torch.ones(WIDTH)}
        save_file(tensors, tmp_path / f"{name}.safetensors", {"invid": json.dumps(card | said)})
    for path in tmp_path.iterdir():
        with pytest.raises(InverterError) as caught:
            load_directions(path, GENERATOR)
        assert len(str(caught.value)) < 400, path.name


@settings(max_examples=80)
@given(data=st.data(), ending=st.sampled_from([".npy", ".npz", ".pt", ".pth", ".safetensors"]))
def test_a_damaged_file_is_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, ending: str
) -> None:
    """Cut, or with a byte changed: directions, or one line; nothing else is raised."""
    path = tmp_path_factory.mktemp("d") / f"smile{ending}"
    if ending == ".safetensors":
        save_directions(path, Directions({"smile": Direction(torch.ones(WIDTH), "", "")}))
    else:
        step = torch.from_numpy(values(WIDTH))
        write(path, {".npy": step.numpy(), ".npz": {"smile": step.numpy()}}.get(ending, step))
    whole = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        whole = whole[:position]
    else:
        whole[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    try:
        found = load_directions(path, GENERATOR)
    except InverterError as error:
        assert "\n" not in str(error)
    else:
        assert all(torch.isfinite(torch.as_tensor(one.step)).all() for one in found.named.values())


def test_nothing_is_left_where_writing_fails(tmp_path: Path) -> None:
    good = {"smile": Direction(torch.ones(WIDTH), "", "")}
    with pytest.raises(CheckpointError, match=r"ends in \.safetensors"):
        save_directions(tmp_path / "x.npy", Directions(good))
    with pytest.raises(CheckpointError, match="cannot be named"):
        save_directions(tmp_path / "x.safetensors", Directions({"a=b": good["smile"]}))
    with pytest.raises(CheckpointError, match="is a mapper"):
        save_directions(tmp_path / "x.safetensors", Directions({"m": Direction(LevelsMapper(4), "", "")}))
    with pytest.raises(CheckpointError, match="cannot write"):
        save_directions(tmp_path / "none" / "x.safetensors", Directions(good))
    assert not list(tmp_path.iterdir())


@pytest.mark.weights
@pytest.mark.skipif(not DATA.is_dir(), reason="the directions of ../shared/data are not here")
def test_published_directions_of_eg3d() -> None:
    with torch.random.fork_rng():
        generator = Generator(GeneratorConfig(channel_base=1024, channel_max=8, superresolution="small4x"))
    for name, norm in (("age", 2.0), ("anger", 3.0), ("glass", 0.95)):
        one = load_directions(DATA / f"goae_{name}.npy", generator).named[f"goae_{name}"]
        assert one.space == "w" and one.norm == pytest.approx(norm, rel=1e-4)
    stem = "ku_pca_ffhqrebalanced_10_5_frontcam"
    basis = load_directions(DATA / f"{stem}.npy", generator).named
    rows = torch.stack([torch.as_tensor(basis[f"{stem}.{k}"].step) for k in range(512)])
    assert torch.allclose(rows @ rows.T, torch.eye(512), atol=1e-3)
    assert torch.equal(rows, torch.from_numpy(np.ascontiguousarray(np.load(DATA / f"{stem}.npy"))))
    smile = DATA / "stylegan2_2d_only" / "pti_smile.pt"
    found = load_directions(smile, generator)
    assert found.fingerprint is None  # nothing in such a file says that it is not EG3D's
    assert torch.equal(
        torch.as_tensor(found.named["pti_smile"].step), torch.load(smile, weights_only=True)[0]
    )
