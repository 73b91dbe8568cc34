"""Camera, codes and generator fitted together (Ko et al. 2023, "3D GAN Inversion with Pose Optimization";
"Pose Opt." in GOAE's table 1).

First the codes and the cameras, then the weights about them. In `paper`, as released, cameras and codes take
turns and then rest; in `draft` and `fast` all three move to the end, and the cameras' correction is one for
the clip, since a face that each frame places anew trembles.
"""

from __future__ import annotations

from typing import Any

from inverters.base import Inversion, InversionProblem, register
from inverters.methods.pti import tune_about_pivots


@register("pose-opt")
def invert_with_pose(generator: Any, problem: InversionProblem, **options: Any) -> Inversion:
    """Codes and cameras, then the weights. Arguments as for `base.Inverter`; `cameras` are always refined."""
    return tune_about_pivots("pose-opt", generator, problem, **options)
