"""Directions in Z: what they move, how their files keep them, and which codes they are refused for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from inverters.base import Inversion
from inverters.editing.direction_files import load_directions, read_directions, save_directions
from inverters.editing.directions import Direction, Directions
from inverters.editing.edit import edit_inversion
from inverters.editing.ganspace import components_in_z, principal_components
from inverters.editing.local_basis import LocalBasis, singular_vectors
from inverters.editing.sefa import factorize, mapping_weights
from inverters.errors import CheckpointError, InverterError
from inverters.fitting.spaces import along_arc, mapped_rows, moved, retracted
from inverters.generators.eg3d import Generator
from tests.inverters.editing.test_edit import Edit
from tests.inverters.tiny import tiny_generator

TIMES = torch.linspace(0, 1, 3, dtype=torch.float64)


def in_z(generator: Generator, frames: int = 3) -> Inversion:
    rng = torch.Generator().manual_seed(3)
    z = retracted(torch.randn(frames, generator.num_ws, generator.config.z_dim, generator=rng))
    return Inversion("w+", "draft", "tiny", np.arange(frames), mapped_rows(generator, z), {"z": z})


def step(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("strength", [1.0, 50.0])
def test_codes_are_moved_at_once_and_then_along_arcs_in_any_order(strength: float) -> None:
    generator = tiny_generator()
    found, z = in_z(generator), in_z(generator).latent["z"]
    rows = step(1, generator.num_ws, 16)
    named = {
        "all": Direction(step(0, 16), "", "", codes="z"),
        "rows": Direction(rows, "", "", codes="z"),
        "arc": Direction(step(2, 16), "", "", codes="z", arc=True),
        "w": Direction(step(4, 16), "", ""),
    }
    assert [one.space for one in named.values()] == ["z", "z+", "z", "w"]
    edits = [Edit("all", strength), Edit("arc", -strength), Edit("rows", 2.0), Edit("w", 0.5)]
    edited = edit_inversion(generator, found, TIMES, edits, named)
    after = along_arc(moved(z, strength * step(0, 16) + 2.0 * rows), -strength * step(2, 16))
    wanted = mapped_rows(generator, after) + 0.5 * step(4, 16)
    torch.testing.assert_close(edited, wanted, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(edited, edit_inversion(generator, found, TIMES, edits[::-1], named))
    late = edit_inversion(generator, found, TIMES, [Edit("arc", 3.0, 0.4)], named, ease=0)
    assert torch.equal(late[0], found.ws[0]) and (late[1:] != found.ws[1:]).flatten(1).any(1).all()


def test_a_direction_in_z_is_refused_for_codes_of_w() -> None:
    generator = tiny_generator()
    found = replace(in_z(generator), latent={}, info={"space": "f/w+"})
    with pytest.raises(InverterError, match=r"'a' is in z, but these codes were fitted in f/w\+") as caught:
        edit_inversion(generator, found, TIMES, [Edit("a")], {"a": Direction(step(0, 16), "", "", codes="z")})
    assert "\n" not in str(caught.value)
    with pytest.raises(InverterError, match="'a' cannot be used: it has shape"):
        named = {"a": Direction(step(0, 15), "", "", codes="z")}
        edit_inversion(generator, in_z(generator), TIMES, [Edit("a")], named)


# Methods


def test_singular_vectors_are_those_of_the_mapping() -> None:
    """Against central differences in float64: the first moves w most, and by its value."""
    generator = tiny_generator().double()
    z = retracted(step(5, 16).double())
    u, values, v = singular_vectors(generator, z)
    h = 1e-5

    def change(direction: torch.Tensor) -> torch.Tensor:
        pair = torch.stack([z + h * direction, z - h * direction])
        above, below = generator.mapping(pair)[:, 0]
        return (above - below) / (2 * h)

    for k in (0, 1, 5):
        torch.testing.assert_close(
            change(v[k].double()), (values[k] * u[:, k]).double(), atol=1e-4, rtol=1e-3
        )
    others = torch.nn.functional.normalize(step(6, 50, 16).double(), dim=1)
    assert all(change(one).norm() <= values[0] * (1 + 1e-4) for one in others)
    assert (values[:-1] >= values[1:]).all() and values[-1] < 1e-3 * values[0], "none changes |z|"


def test_a_local_basis_is_that_of_each_layers_mean_code() -> None:
    generator = tiny_generator()
    z = in_z(generator).latent["z"]
    steps = LocalBasis(1, layered=True).step(generator, z)
    for row, one in zip(retracted(z.mean(0)), steps, strict=True):
        assert abs(float(one @ singular_vectors(generator, row)[2][1])) == pytest.approx(1, abs=1e-4)
    whole = LocalBasis(1, layered=False).step(generator, z)
    assert torch.equal(whole, whole[:1].expand_as(whole)) and not torch.equal(steps[0], steps[1])
    assert (steps * whole).sum(1).min() >= -1e-6, "no layer moves against the others"
    named = {"local1": Direction(LocalBasis(1, True), "", "", codes="z")}
    edited = edit_inversion(generator, in_z(generator), TIMES, [Edit("local1", 2.0)], named)
    torch.testing.assert_close(edited, mapped_rows(generator, moved(z, 2 * steps)), atol=1e-4, rtol=1e-3)


def test_components_in_z_move_w_along_its_components() -> None:
    generator = tiny_generator()
    z = retracted(step(7, 4000, 16))
    w = generator.mapping(z)[:, 0]
    rows, found = principal_components(w, 2)[0], components_in_z(z, w, 2)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))
    change = generator.mapping(moved(z[:300], found[0]))[:, 0] - w[:300]
    along = change @ rows[0]
    assert (along > 0).float().mean() > 0.95 and along.mean() > 2 * (change @ rows[1]).mean().abs()


def test_sefa_in_z_takes_the_first_layers_weights_of_z_alone() -> None:
    weights = mapping_weights(tiny_generator(c_dim=25))
    assert weights.shape == (16, 16)
    rows, values = factorize(weights, 3, unit_rows=False)
    torch.testing.assert_close((weights @ rows.T).norm(dim=0).square(), values)


# Files


def test_a_file_keeps_space_and_way(tmp_path: Path) -> None:
    generator = tiny_generator()
    named = {
        "a": Direction(step(0, 16), "u", "m", codes="z"),
        "b": Direction(step(0, generator.num_ws, 16), "u", "m", codes="z", arc=True),
        "c": Direction(LocalBasis(3, layered=True), "u", "m", codes="z"),
        "d": Direction(LocalBasis(0, layered=False), "u", "m", codes="z"),
        "e": Direction(step(0, 16), "u", "m"),
    }
    save_directions(tmp_path / "d.safetensors", Directions(named, "tiny", "tiny"))
    found = load_directions(tmp_path / "d.safetensors", generator).named
    assert [one.space for one in found.values()] == ["z", "z+", "z+", "z", "w"]
    assert [one.digest() for one in found.values()] == [one.digest() for one in named.values()]
    assert len({one.digest() for one in found.values()}) == 5
    assert found["c"].step == named["c"].step and [one.arc for one in found.values()].index(True) == 1
    wide = tiny_generator(z_dim=24)
    with pytest.raises(CheckpointError, match=r"'a' .* shape \[16\]; generator 'untrained' needs \[24\]"):
        Directions({"a": named["a"]}).check_fits(wide, "'x'")
    with pytest.raises(CheckpointError, match="singular vector 16; generator 'untrained' has 16"):
        Directions({"c": Direction(LocalBasis(16, True), "", "", codes="z")}).check_fits(wide, "'x'")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b'"space": "z"', b'"space": "q"', "space 'q'; known: w, w"),
        (b'"space": "z"', b'"space": "w"', "singular vector 3 in space w"),
        (b'"singular_vector": 3', b'"singular_vector":-3', "singular vector -3"),
        (b'"unit": "u"', b'"unix": "u"', "'unit'"),
    ],
)
def test_cards_that_say_what_cannot_be(tmp_path: Path, old: bytes, new: bytes, says: str) -> None:
    path = tmp_path / "d.safetensors"
    one = Direction(LocalBasis(3, layered=False), "u", "m", codes="z")
    save_directions(path, Directions({"c": one}, "tiny", "tiny"))
    old, new = (part.replace(b'"', b'\\"') for part in (old, new))
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))
    with pytest.raises(CheckpointError, match="cannot be read as directions") as caught:
        read_directions(path)
    assert says in str(caught.value) and "\n" not in str(caught.value)
