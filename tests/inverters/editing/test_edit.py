"""Edits of codes: where, how far, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inverters.base import Inversion
from inverters.editing.directions import Direction, own_directions
from inverters.editing.edit import edit_codes, edit_inversion, edit_presence
from inverters.editing.styleclip import LevelsMapper
from inverters.errors import InverterError, UnknownNameError
from inverters.fitting.latents import latent_space
from inverters.fitting.spaces import mapped_rows, retracted
from inverters.generators.eg3d import Generator
from tests.inverters.tiny import tiny_generator


@dataclass(frozen=True)
class Edit:
    name: str
    strength: float = 1.0
    start: float | None = None
    stop: float | None = None


WS = torch.randn(11, 4, 6, generator=torch.Generator().manual_seed(0))
TIMES = torch.linspace(0, 1, 11, dtype=torch.float64)
STEPS = {"smile": torch.arange(6.0), "age": torch.ones(4, 6), "wrong": torch.ones(5)}
DIRECTIONS = {name: Direction(step, "", "") for name, step in STEPS.items()}


def test_an_edit_without_bounds_moves_every_frame_alike() -> None:
    moved = edit_codes(WS, TIMES, [Edit("smile", 1.5)], DIRECTIONS)
    assert torch.allclose(moved - WS, 1.5 * torch.arange(6.0).expand(11, 4, 6), atol=1e-6)


def test_edits_add_up_in_any_order_and_leave_the_codes_given_alone() -> None:
    before = WS.clone()
    edits = [Edit("smile", 1.0), Edit("age", -2.0, 0.2, 0.8)]
    one, other = (edit_codes(WS, TIMES, order, DIRECTIONS) for order in (edits, edits[::-1]))
    assert torch.allclose(one, other, atol=1e-6)
    assert torch.equal(WS, before)
    assert torch.equal(edit_codes(WS, TIMES, [], DIRECTIONS), WS)


def test_a_time_range_is_eased_at_both_ends() -> None:
    moved = edit_codes(WS, TIMES, [Edit("age", 1.0, 0.2, 0.8)], DIRECTIONS, ease=0.2)
    amount = (moved - WS)[:, 0, 0]
    assert torch.allclose(amount[[0, 1, 2, 8, 9, 10]], torch.zeros(6), atol=1e-6)
    assert amount[3].item() == pytest.approx(0.5, abs=1e-5)  # half way in
    assert torch.allclose(amount[4:7], torch.ones(3), atol=1e-5)


def test_a_mapper_is_an_edit_like_any_other() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mapper = LevelsMapper(6).requires_grad_(False)
    known = DIRECTIONS | {"beard": Direction(mapper, "", "")}
    beard, smile = Edit("beard", 2.0, None, 0.55), Edit("smile")
    moved = edit_codes(WS, TIMES, [beard], known, ease=0)
    assert torch.allclose(moved[:6] - WS[:6], 2 * 0.04 * mapper(WS[:6]), atol=1e-6)
    assert torch.equal(moved[6:], WS[6:])
    both = edit_codes(WS, TIMES, [beard, smile], known, ease=0)
    assert torch.allclose(both, edit_codes(WS, TIMES, [smile, beard], known, ease=0), atol=1e-6)
    with pytest.raises(InverterError, match="'beard' cannot be used: it maps rows of 6"):
        edit_codes(torch.zeros(11, 4, 7), TIMES, [beard], known)


def test_unknown_names_and_wrong_shapes_are_told() -> None:
    with pytest.raises(UnknownNameError, match="unknown edit 'frown'; known: age, smile, wrong"):
        edit_codes(WS, TIMES, [Edit("frown")], DIRECTIONS)
    with pytest.raises(UnknownNameError, match="no directions"):
        edit_codes(WS, TIMES, [Edit("frown")], {})
    with pytest.raises(InverterError, match="'wrong' cannot be used: it has shape"):
        edit_codes(WS, TIMES, [Edit("wrong")], DIRECTIONS)
    with pytest.raises(InverterError, match="one time a code"):
        edit_codes(WS, TIMES[:3], [Edit("smile")], DIRECTIONS)


@settings(max_examples=100)
@given(
    st.none() | st.floats(0, 2),
    st.none() | st.floats(0, 2),
    st.floats(0, 1),
    st.floats(-1, 3),
    st.floats(0, 0.05),
)
def test_presence_is_bounded_nothing_outside_and_without_jumps(
    start: float | None, length: float | None, ease: float, time: float, step: float
) -> None:
    stop = None if length is None else (start or 0.0) + length
    edit = Edit("smile", 1.0, start, stop)
    here, next_ = (edit_presence(edit, t, ease) for t in (time, time + step))
    assert 0 <= here <= 1
    if (start is not None and time < start) or (stop is not None and time > stop):
        assert here == 0
    ramp = min(ease, length / 2) if start is not None and length is not None else ease
    if ramp > 1e-3:  # smoothstep is nowhere steeper than 1.5 / ramp
        assert abs(next_ - here) <= 1.5 * step / ramp + 1e-6


# Edits in z

PARAMETERS = ("smile", "age", "glasses")


def in_z(generator: Generator) -> tuple[Inversion, dict[str, Direction]]:
    """An inversion in z+ of 11 frames, and directions of which one has no coordinate of z."""
    z = retracted(torch.randn(11, generator.num_ws, 512, generator=torch.Generator().manual_seed(3)))
    ws = mapped_rows(generator, z)
    named = {name: Direction(torch.ones(16), "", "", k) for k, name in enumerate(PARAMETERS)}
    named["round"] = Direction(torch.ones(16), "", "")
    return Inversion("w+", "draft", "tiny", np.arange(11), ws, {"z": z}), named


@pytest.mark.parametrize("strength", [1.0, 50.0])
def test_edits_of_codes_of_z_stay_in_the_space(strength: float) -> None:
    generator = tiny_generator(PARAMETERS, z_dim=512)
    found, named = in_z(generator)
    edits = [Edit("smile", strength), Edit("age", -strength, 0.5)]
    moved = edit_inversion(generator, found, TIMES, edits, named, ease=0)
    z = found.latent["z"].clone()
    z[:, :, 0] += strength
    z[5:, :, 1] -= strength
    z *= 512**0.5 / z.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(moved, mapped_rows(generator, z), atol=1e-5, rtol=1e-4)
    swapped = edit_inversion(generator, found, TIMES, edits[::-1], named, ease=0)
    torch.testing.assert_close(moved, swapped)


def test_edits_without_a_coordinate_of_z_move_w() -> None:
    generator = tiny_generator(PARAMETERS, z_dim=512)
    found, named = in_z(generator)
    for edits in ([Edit("round", 2.0)], []):
        moved = edit_inversion(generator, found, TIMES, edits, named)
        assert torch.equal(moved, edit_codes(found.ws, TIMES, edits, named))
    short = edit_inversion(generator, found, TIMES, [Edit("smile", 3.0, 0.5)], named, ease=0)
    assert torch.equal(short[:5], found.ws[:5]) and (short[5:] != found.ws[5:]).any()
    with pytest.raises(UnknownNameError, match="unknown edit 'frown'; known: age, glasses, round, smile"):
        edit_inversion(generator, found, TIMES, [Edit("frown")], named)
    with pytest.raises(InverterError, match="one time a code is needed"):
        edit_inversion(generator, found, TIMES[:3], [Edit("smile")], named)


@settings(max_examples=4)
@given(strength=st.floats(-2, 2), other=st.floats(-2, 2), seed=st.integers(0, 99))
def test_named_parameters_move_codes_of_w_as_the_mapping_does(
    strength: float, other: float, seed: int
) -> None:
    """Of 100 faces the median is 1 % off; for one of them the search for the face ends beside it."""
    generator = tiny_generator(PARAMETERS)
    space, rng = latent_space(generator), torch.Generator().manual_seed(seed)
    named = {name: Direction(torch.ones(16), "", "", k) for k, name in enumerate(PARAMETERS)}
    edits = [Edit("smile", strength), Edit("age", other, 0.5)]
    off = []
    for scores in space.sample(9, rng)[:, None]:
        codes = space.to_w(scores).expand(11, generator.num_ws, -1)
        found = Inversion("w+", "draft", "tiny", np.arange(11), codes)
        change = edit_inversion(generator, found, TIMES, edits, named, ease=0) - codes
        for rows, step in ((slice(5), [strength, 0, 0]), (slice(5, None), [strength, other, 0])):
            true = space.to_w(scores + torch.tensor([step])) - space.to_w(scores)
            error = (change[rows] - true[:, None]).norm(dim=-1).max()
            off.append(float((error - 1e-4) / true.norm().clamp_min(1e-6)))
    assert np.median(off) <= 0.1


def test_frames_without_an_edit_keep_their_codes() -> None:
    generator = tiny_generator(PARAMETERS)
    codes = latent_space(generator).to_w(torch.randn(11, 3))[:, None].repeat(1, generator.num_ws, 1)
    found = Inversion("w+", "draft", "tiny", np.arange(11), codes)
    named = {"smile": Direction(torch.ones(16), "", "", 0)}
    edited = edit_inversion(generator, found, TIMES, [Edit("smile", 1.0, 0.5)], named, ease=0)
    assert torch.equal(edited[:5], codes[:5])
    change = edited[5:] - codes[5:]
    torch.testing.assert_close(change, change[:1, :1].expand_as(change))
    assert change.abs().max() > 0


def test_parameters_of_a_generator_are_coordinates_of_its_z() -> None:
    generator = tiny_generator(PARAMETERS)
    generator.card = replace(generator.card, directions={"age": torch.ones(16), "other": torch.ones(16)})
    named = own_directions(generator).named
    assert named["age"].coordinate == 1 and named["other"].coordinate is None
