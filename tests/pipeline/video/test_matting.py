"""Straps and edges of an occluder come off with it."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.clip import U8
from pipeline.stages.composite import overlay_of
from pipeline.stages.face_masks import Mattes
from pipeline.stages.pixels import Covered
from pipeline.video.matting import occluder_matte

SIZE = 128
SKIN, WHITE, RED = (150, 100, 80), (225, 235, 230), (200, 30, 30)


def scene(strap: tuple[int, int, int] = WHITE, cloth: tuple[int, int, int] = WHITE) -> tuple[U8, U8, U8]:
    """A source, what is behind its occluder, and the blend: a mask with a strap, which the blend lacks."""
    rng = np.random.default_rng(0)
    behind = np.full((SIZE, SIZE, 3), SKIN, np.uint8)
    source = (behind + rng.integers(-6, 7, behind.shape)).astype(np.uint8)
    source[70:110, 30:98] = cloth
    source[48:70, 32:34] = strap
    blend = np.zeros((SIZE // 2, SIZE // 2), np.float16)
    blend[36:55, 15:49] = 1.0  # two pixels below the cloth's upper edge
    return source, behind, blend


def test_a_strap_and_the_edge_belong_to_the_occluder() -> None:
    source, behind, blend = scene()
    source[40:46, 80:84] = WHITE  # an earring that touches nothing
    matte = occluder_matte(source, behind, blend)
    assert matte[70:110, 31:97].min() > 0.9 and matte[49:70, 32:34].min() > 0.9
    assert matte[40:46, 80:84].max() == 0 and matte[:38].max() == 0 and matte[40:64, 40:].max() == 0


def test_what_is_of_another_colour_or_like_the_face_does_not() -> None:
    source, behind, blend = scene(strap=RED)
    assert occluder_matte(source, behind, blend)[40:64, 32:34].max() == 0
    hand, behind, blend = scene(strap=(160, 108, 88), cloth=(160, 108, 88))
    matte = occluder_matte(hand, behind, blend)
    assert matte[40:64].max() == 0 and matte[80:105, 40:90].min() == 1  # what the blend tells stays


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_without_an_occluder_there_is_none(share: float) -> None:
    source, behind, _ = scene()
    assert occluder_matte(source, behind, np.full((64, 64), share, np.float32)).max() == 0


def test_a_removal_takes_all_of_the_occluder_and_nothing_else() -> None:
    """The fit's field has two pixels less of the mask, no strap, and curls that the removal lacks."""
    source, behind, blend = scene()
    source[20:40, 100:120] = behind[20:40, 100:120] // 2  # curls
    mattes = Mattes(source[None], behind[None], blend[None])
    shown = overlay_of(
        behind,
        np.full((SIZE, SIZE), 255, np.uint8),
        np.eye(2, 3),
        SIZE,
        (SIZE, SIZE),
        plain=Covered(behind[None], source[None], mattes)[0],
    )
    assert shown is not None
    left = np.abs(shown.over(source).astype(int) - behind)
    assert left[48:70, 30:36].max() < 12 and left[68:112, 28:100].max() < 12
    assert np.array_equal(shown.over(source)[20:40, 100:120], source[20:40, 100:120])


def test_crops_may_be_larger_than_renders() -> None:
    source, behind, blend = scene()
    large = source.repeat(2, 0).repeat(2, 1)
    found = Mattes(large[None], behind[None], blend[None])[0]
    assert found.shape == (SIZE, SIZE) and found[50:68, 32:34].min() > 0.9


def test_a_background_that_the_renders_hair_hides_is_no_occluder() -> None:
    """It is as bright as a mixture of hair and cloth, wide, and beside the cloth or above the head."""
    source, behind, blend = scene()
    for part in (np.s_[44:110, 8:28], np.s_[2:14, 20:100]):
        behind[part], source[part] = (60, 50, 45), (150, 125, 165)
    blend[1:7, 10:50] = 1.0  # the field explains hair there
    matte = occluder_matte(source, behind, blend)
    assert matte[46:108, 10:26].max() == 0 and matte[:20].max() == 0
    assert matte[49:68, 32:34].min() > 0.9


def lenses() -> tuple[U8, U8, U8]:
    """A source with sunglasses, what is behind them, and the blend: both lenses and curls of the hair."""
    behind = np.full((SIZE, SIZE, 3), SKIN, np.uint8)
    source, blend = behind.copy(), np.zeros((SIZE // 2, SIZE // 2), np.float32)
    for left in (24, 70):
        source[50:70, left : left + 30] = (25, 25, 30)
        blend[25:35, left // 2 : left // 2 + 15] = 1.0
    source[4:20, 30:80] = (70, 60, 50)
    blend[2:10, 15:40] = 1.0
    return source, behind, blend


def test_both_lenses_are_the_occluders() -> None:
    source, behind, blend = lenses()
    blend[2:10] = 0.0
    matte = occluder_matte(source, behind, blend)
    assert matte[52:68, 26:52].min() == 1 and matte[52:68, 72:98].min() == 1


def test_an_encoders_mask_tells_the_occluder_from_hair_and_adds_what_the_field_lacks() -> None:
    source, behind, blend = lenses()
    cover = blend.copy()
    cover[2:10] = 0.0
    blend[25:35, 35:50] = 0.2  # a lens that the field hardly has
    cover[25:35, 35:50] = 0.4  # and of which the encoder is not sure
    cover[40:50, 15:50] = 0.4  # nor of this, where the source is like the removal
    matte = occluder_matte(source, behind, blend, cover)
    assert matte[:24].max() == 0 and matte[80:100].max() == 0
    assert matte[54:66, 26:52].min() == 1 and matte[54:66, 74:96].min() == 1
    assert occluder_matte(source, behind, blend, np.zeros_like(cover)).max() == 0
