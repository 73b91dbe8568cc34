"""W inversion of a whole clip: one code of w_dim a frame, the same in every layer (StyleGAN2's projector,
Karras et al. 2020, as EG3D-projector runs it on tri-plane generators).
"""

from __future__ import annotations

from typing import Any

from inverters.base import Inversion, InversionProblem, register
from inverters.methods.w_plus import invert_codes


@register("w")
def invert_w(generator: Any, problem: InversionProblem, **options: Any) -> Inversion:
    """W over the whole clip. Arguments as for `base.Inverter`; the rows of a frame's `ws` are all equal."""
    return invert_codes("w", "w", generator, problem, **options)
