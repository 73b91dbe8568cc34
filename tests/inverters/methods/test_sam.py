"""SAM: segments, the space that each takes, and offsets of features within them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inverters.base import Inversion
from inverters.errors import InverterError, UnknownNameError
from inverters.fields.synthesis import InversionRenderer
from inverters.fitting import loop
from inverters.fitting.code_settings import in_space
from inverters.fitting.segment_fit import blocks_of
from inverters.fitting.segments import SIDE, Seen, errors_of, mask_of, rendered, seen_places, segments
from inverters.fitting.spaces import LayerCodes, mapped_rows
from inverters.fitting.targets import Targets
from inverters.methods.sam import chosen_spaces, step_count, step_counts
from tests.inverters.fitting.test_spaces import norms_off
from tests.inverters.tiny import invert, own_clip, tiny, tiny_generator


def settings_in(space: str = "w+", **changes: Any) -> Any:
    found = tiny("sam")
    return dataclasses.replace(found, codes=in_space(found.codes, space), **changes)


def test_each_segment_takes_the_first_space_that_is_good_enough() -> None:
    errors = torch.tensor([[0.1, 0.5, 0.5, 0.5], [0.05, 0.2, 0.4, 0.4], [0.01, 0.1, 0.2, 0.3]])
    assert chosen_spaces(errors, 0.2).tolist() == [0, 1, 2, 2]
    assert chosen_spaces(errors, 1.0).tolist() == [0] * 4
    assert chosen_spaces(errors, 0.0).tolist() == [2] * 4


def test_segments_are_of_one_colour_and_place() -> None:
    """Four coloured quarters of the plane are the four segments; what no pixel shows joins the nearest."""
    places = torch.arange(SIDE * SIDE)
    x, y = places % SIDE < SIDE // 2, places // SIDE < SIDE // 2
    colours = torch.stack([x, y, x ^ y], 1).float() * 2 - 1
    known = places[(places % 3 > 0)]
    seen = Seen(torch.tensor([0]), known[None], colours[known][None], torch.ones(1, len(known)))
    labels = segments(seen, 4)
    for side in (x & y, x & ~y, ~x & y, ~x & ~y):
        inside = labels[side & (places % 3 > 0)]
        assert (inside == inside[0]).all()
    assert len(labels.unique()) == 4 and len(segments(seen, 1).unique()) == 1
    errors = errors_of(seen, labels, (colours[known] + 0.5 * x[known][:, None])[None])
    assert sorted(errors.tolist()) == pytest.approx([0, 0, 0.5, 0.5])
    hidden = dataclasses.replace(seen, keep=1 - x[known][None].float())
    assert float(errors_of(hidden, labels, torch.full_like(seen.colours, 9.0))[labels[0]]) == 0


def test_masks_of_all_segments_cover_a_layer_once() -> None:
    labels = torch.randint(5, (SIDE * SIDE,), generator=torch.Generator().manual_seed(0))
    for side in (4, 8, 32, 64):
        masks = [mask_of(labels, torch.arange(5) == k, side) for k in range(5)]
        assert masks[0].shape == (1, side, side)
        torch.testing.assert_close(torch.stack(masks).sum(0), torch.ones(1, side, side))


def test_a_pixel_belongs_to_where_its_surface_lies() -> None:
    """A frontal camera sees the plane upright: columns of the picture ascend in x, rows descend in y."""
    generator = tiny_generator()
    clip = own_clip(generator, 3)
    targets, row = Targets(clip, 16, torch.device("cpu")), torch.tensor([1])
    ws = generator.mapping(torch.randn(1, 16)).expand(3, -1, -1)
    colours, depths = rendered(generator, targets, row, ws, LayerCodes(), generator.sampling())
    assert colours.shape == (1, 256, 3)
    places = seen_places(generator, targets, row, torch.full_like(depths, 2.7)).places.reshape(16, 16)
    assert (torch.diff(places % SIDE, dim=1) >= 0).all() and (torch.diff(places // SIDE, dim=0) <= 0).all()


def test_offsets_are_added_after_their_blocks() -> None:
    generator = tiny_generator()
    ws = torch.randn(2, generator.num_ws, 16)
    x, stacked = generator.features_at(ws, 8)
    offset = torch.randn(2, *x.shape[1:])
    found = LayerCodes(offsets={8: offset}).planes(generator, ws)
    torch.testing.assert_close(found, generator.planes_from(x + offset, stacked, ws, 8))
    none = {4: torch.zeros(2, 8, 4, 4), 8: torch.zeros_like(offset)}
    torch.testing.assert_close(LayerCodes(offsets=none).planes(generator, ws), generator.planes(ws))
    assert torch.equal(LayerCodes(offsets={8: offset}).at(torch.tensor([1])).offsets[8], offset[1:])


@pytest.mark.parametrize("space", ["w+", "z+"])
def test_offsets_show_what_codes_cannot(space: str) -> None:
    generator = tiny_generator()
    clip = own_clip(generator, 2, occluder=True)
    clip = dataclasses.replace(clip, occluder_masks=None)
    chosen = settings_in(space, threshold=0.05)
    chosen = dataclasses.replace(chosen, offsets=dataclasses.replace(chosen.offsets, base_rate=0.1))
    found = invert("sam", generator, clip, chosen, steps=100)
    assert found.method == "sam" and len(found.info["segments"]) <= 4
    assert set(found.info["segments"]) <= {space, "f4", "f8"}
    offsets = [name for name in found.latent if name.startswith("offset")]
    assert offsets and "offsets" in found.parts
    assert all(found.latent[name].shape[0] == 2 for name in offsets)
    if space == "z+":
        assert norms_off(found.latent["z"]) < 1e-4
        torch.testing.assert_close(found.ws, mapped_rows(generator, found.latent["z"]))
    plain = tiny("w+")
    plain = dataclasses.replace(plain, codes=in_space(plain.codes, space))
    raw = Targets(clip, 16, torch.device("cpu")).raw(torch.arange(2))

    def error(inversion: Inversion) -> float:
        seen = InversionRenderer(generator, inversion).render(np.arange(2), clip.cam2world, clip.intrinsics)
        return float((seen.image_raw - raw).square().mean())

    assert error(found) < 0.8 * error(invert("w+", generator, clip, plain, steps=100))
    assert error(found) < error(dataclasses.replace(found, latent={}))


def test_segments_that_codes_show_have_no_offset() -> None:
    generator = tiny_generator()
    found = invert("sam", generator, own_clip(generator, 2), settings_in(threshold=10.0), steps=20)
    assert set(found.info["segments"]) == {"w+"} and found.latent == {}


def test_the_codes_of_an_inversion_take_the_first_stages_place() -> None:
    generator = tiny_generator()
    clip = own_clip(generator, 2)
    start = invert("w+", generator, clip, steps=5)
    found = invert("sam", generator, clip, settings_in(threshold=0.01), steps=20, start=start)
    assert found.info["steps"]["codes"] == 0 and "codes/colour" not in found.history
    with pytest.raises(InverterError, match=r"codes in z\+ cannot begin from codes of w"):
        invert("sam", generator, clip, settings_in("z+"), steps=20, start=start)


def test_an_interrupted_fit_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    generator, chosen = tiny_generator(), settings_in("z+", threshold=0.05)
    clip = own_clip(generator, 2)
    whole = invert("sam", generator, clip, chosen, steps=30)
    counts = whole.info["steps"]
    for stop_at in (counts["codes"] + 1, counts["codes"] + 2 * counts["trial"] + 2):

        def stop(done: int, total: int, losses: dict[str, float], last: int = stop_at) -> None:
            if done == last:
                raise KeyboardInterrupt

        folder = tmp_path / str(stop_at)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
            invert("sam", generator, clip, chosen, steps=30, checkpoint_dir=folder, on_step=stop)
        again = invert("sam", generator, clip, chosen, steps=30, checkpoint_dir=folder)
        assert torch.equal(again.ws, whole.ws)
        assert all(torch.equal(again.latent[name], whole.latent[name]) for name in whole.latent)


def test_steps_are_split_over_all_stages() -> None:
    found = tiny("sam")
    codes, trial, last = step_counts(found, 3, 4, None)
    assert step_count(found, 4) == codes + 3 * trial + last
    for steps in (5, 50, 500):
        codes, trial, last = step_counts(found, 3, 4, steps)
        assert min(codes, trial, last) >= 1 and abs(codes + 3 * trial + last - steps) <= 3


def test_blocks_that_a_backbone_lacks_are_left_out() -> None:
    generator = tiny_generator()
    assert blocks_of(generator, (64, 8, 4, 16)) == (4, 8)
    with pytest.raises(UnknownNameError, match="none of the blocks 64, 128 before its last; it has 4, 8"):
        blocks_of(generator, (64, 128))
