"""W inversion: one code of w_dim a frame, the same in every layer.

`paper` is the public projector's schedule (StyleGAN2's projector, Karras et al. 2020, as EG3D-projector runs
it on tri-plane generators).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from inverters.base import Method
from inverters.fitting.spaces import SPACES
from inverters.methods import w_plus
from inverters.methods.w_plus import ProjectionSettings

PRESETS: dict[str, ProjectionSettings] = {
    name: replace(settings, codes=replace(settings.codes, space="w"))
    for name, settings in w_plus.PRESETS.items()
    if name != "z-plus"  # it is of codes of every layer
}
"""Those of `w+`, with W in place of W+."""

METHOD = Method(
    name="w",
    presets=PRESETS,
    steps=w_plus.step_count,
    invert=partial(w_plus.invert_codes, "w"),
    spaces=frozenset(name for name, space in SPACES.items() if not space.layered),
    starts_from=w_plus.STARTS_FROM,
)
