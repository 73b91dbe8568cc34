"""Straps and edges of an occluder come off with it."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.clip import U8
from pipeline.stages.face_masks import Mattes
from pipeline.stages.pixels import Covered
from pipeline.video.masks import visible_change
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


def test_a_removal_leaves_nothing_of_a_line_that_the_reconstruction_does_not_have() -> None:
    """The reconstruction's mask begins two pixels lower, and it has no strap."""
    source, behind, blend = scene()
    reconstruction = behind.copy()
    reconstruction[72:110, 30:98] = WHITE
    mattes = Mattes(source[None], behind[None], blend[None])

    def left(plain: U8) -> float:
        taken = visible_change(behind, plain)[..., None]
        shown = behind + (1.0 - taken) * (source.astype(np.float32) - plain)
        return float(np.abs(shown - behind)[38:112].max())

    assert left(reconstruction) > 60
    assert left(Covered(reconstruction[None], source[None], mattes)[0]) < 12


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
