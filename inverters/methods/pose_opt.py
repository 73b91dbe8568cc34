"""Camera, codes and generator fitted together.

Ko et al. 2023, "3D GAN Inversion with Pose Optimization"; "Pose Opt." in GOAE's table 1.

First the codes and the cameras, then the weights about them. In `paper`, as released, cameras and codes take
turns and are then fixed. In `draft` and `fast` cameras, codes and weights all move until the end, and one
correction of the cameras serves the whole clip: with one a frame the face trembles.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from inverters.base import Method
from inverters.fitting.weights import WeightSettings
from inverters.methods.common import DRAFT, DRAFT_CODES, DRAFT_WEIGHTS, FAST, FAST_CODES, PAPER, PROJECTOR
from inverters.methods.pti import PivotSettings, step_count, tune_about_pivots

_DRAFT_TUNING = replace(DRAFT_WEIGHTS, rate_w=2e-3, pose_rate=0.03)

PRESETS = {
    "draft": PivotSettings(**DRAFT, codes=DRAFT_CODES, tuning=_DRAFT_TUNING),
    "fast": PivotSettings(
        **FAST, codes=FAST_CODES, tuning=replace(_DRAFT_TUNING, steps=300, coarse=None, fine=None)
    ),
    # cvlab-kaist/3DGAN-Inversion (Ko et al. 2023), configs/hyperparameters.py, w_projector.py, base_coach.py.
    # The release begins with frontal cameras, which follow features warped by depth; here the cameras begin
    # at the landmarks' and follow the renderer's gradient.
    "paper": PivotSettings(
        **PAPER,
        codes=replace(
            PROJECTOR,
            space="w",  # first_inv_type = 'w'
            epochs=400,  # first_inv_steps = 400
            w_noise=0.0,  # "w_opt = w_opt# + w_noise"
            pose_rate=0.14,  # cam_latent_lr = 7e-3 radians, in units of 0.05; Adam, there without a schedule
            pose_every=1,  # one camera an image
            pose_turns=10,  # "(step//10)%2==1" moves the code, else the camera
        ),
        tuning=WeightSettings(
            epochs=400,  # max_pti_steps = 400
            rate=3e-4,  # pti_learning_rate = 3e-4
            rate_w=0.0,  # w_pivot is fixed
            pose_rate=0.0,  # freezed_cam
            net="alex",  # lpips_type = 'alex'
            lambda_raw=1.0,  # both losses on image_raw too
            lambda_depth=1.0,  # compute_tv_norm(image_depth)
            stop=0.06,  # LPIPS_value_threshold = 0.06, there for both pictures' sum, here for the final one
        ),
    ),
}

METHOD = Method(
    name="pose-opt",
    presets=PRESETS,
    steps=step_count,
    invert=partial(tune_about_pivots, "pose-opt"),
    starts_from=frozenset({"codes", "cameras", "weights"}),
)
