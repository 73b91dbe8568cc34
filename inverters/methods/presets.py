"""Named hyper-parameters of the inversion methods; beside each number, where it comes from.

`paper` is what each method's own paper or code says: for `in-n-out` its section 5.1, for the others the
public projectors; `paper-locality` adds PTI's regulariser, which its code leaves out. `in-n-out-baselines`
are those others as In-N-Out's section 5.2 ran them; `released-masked` and `released-maskfree` the two recipes
of its public code (Twizwei/in-n-out). `draft` suits two CPU cores and short clips, `fast` a small GPU or a
patient CPU: both are ours.
"""

from __future__ import annotations

from dataclasses import replace

from inverters.errors import UnknownNameError
from inverters.fields.ood import OODInit
from inverters.fields.pseudo_views import PseudoViewPreset
from inverters.fitting.weights import Locality, PivotalPreset
from inverters.methods import person_presets
from inverters.methods.ablations import ablated
from inverters.methods.hyperparameters import (
    CodePreset,
    JointPreset,
    MultiViewPreset,
    PivotPreset,
    Preset,
    TunePreset,
)

# oneThousand1000/EG3D-projector, eg3d/projector/w_projector.py and w_plus_projector.py. Its noise maps are
# optimised beside the code and then thrown away; here they stay as they are.
_PROJECTOR = CodePreset(
    epochs=500,  # run_projector.py: 500 steps an image
    shared=False,  # it knows one image
    rate=0.01,  # initial_learning_rate=0.01, which overwrites what Adam is made with
    schedule="warmup_cosine",  # lr_rampup_length=0.05, lr_rampdown_length=0.25
    w_noise=0.05,  # initial_noise_factor=0.05, noise_ramp_length=0.75
    features_at=256,  # "if target_images.shape[2] > 256": area means
    lambda_perceptual=1.0,  # dist = (target_features - synth_features).square().sum(): LPIPS-VGG
)

# danielroich/PTI, configs/hyperparameters.py, and EG3D-projector's copy of it.
_PTI = PivotPreset(
    codes=replace(_PROJECTOR, space="w", epochs=450),  # first_inv_type = 'w', first_inv_steps = 450
    tuning=PivotalPreset(
        epochs=350,  # max_pti_steps = 350, an image
        rate=3e-4,  # pti_learning_rate = 3e-4
        net="alex",  # lpips_type = 'alex'
        lambda_image=1.0,  # pt_l2_lambda = 1
        lambda_perceptual=1.0,  # pt_lpips_lambda = 1
        stop=0.06,  # LPIPS_value_threshold = 0.06
        locality=None,  # use_locality_regularization = False
    ),
)

# cvlab-kaist/3DGAN-Inversion (Ko et al. 2023), configs/hyperparameters.py, w_projector.py, base_coach.py. Its
# cameras begin at the front and follow features warped by depth; here they begin at the landmarks' and follow
# the renderer's own gradient.
_POSE_OPT = PivotPreset(
    codes=replace(
        _PROJECTOR,
        space="w",  # first_inv_type = 'w'
        epochs=400,  # first_inv_steps = 400
        w_noise=0.0,  # "w_opt = w_opt# + w_noise"
        pose_rate=0.14,  # cam_latent_lr = 7e-3 radians, in units of 0.05; Adam, there without a schedule
        pose_frames=True,  # one camera an image
        pose_turns=10,  # "(step//10)%2==1" moves the code, else the camera
    ),
    tuning=PivotalPreset(
        epochs=400,  # max_pti_steps = 400
        rate=3e-4,  # pti_learning_rate = 3e-4
        rate_w=0.0,  # w_pivot rests
        pose_rate=0.0,  # freezed_cam
        net="alex",  # lpips_type = 'alex'
        lambda_raw=1.0,  # both losses on image_raw too
        lambda_depth=1.0,  # compute_tv_norm(image_depth)
        stop=0.06,  # LPIPS_value_threshold = 0.06, there for both pictures' sum, here for the final one
    ),
)

# jiaxinxie97/HFGI3D, inversion/configs/hyperparameters.py, inversion/training/coaches and
# multi_views/generate_multi_views.py. Losses and rate are PTI's.
_HFGI3D = MultiViewPreset(
    codes=replace(_PROJECTOR, space="w+"),  # w_plus_projector, first_inv_steps = 500
    tuning=replace(_PTI.tuning, epochs=500),  # max_pti_steps = 500
    views=PseudoViewPreset(
        frames=4,  # ours: it knows one image
        poses=30,  # num_keyframes = 30
        yaw=0.35,  # yaw_range = 0.35
        pitch=0.25,  # pitch_range = 0.25
        centre=-0.05,  # 3.14/2 - 0.05 + pitch_range * cos(...)
        tolerance=0.01,  # ours: there 1/512 between points of one depth map; here two maps are compared
        erosion=3,  # np.ones((3,3))
        border=51,  # np.ones((51,51))
        feather=21,  # GaussianBlur(mask, (21,21), 0)
    ),
    joint=replace(_PTI.tuning, epochs=1000, stop=0.0),  # max_pti_steps_multiviews = 1000, without threshold
    restart=True,  # restart_training() reads the generator from its file again
)

_PAPER = Preset(
    name="paper",
    codes=CodePreset(
        epochs=200,  # 5.1: "for 200 epochs"
        rate=1e-3,  # 5.1: "with a learning rate of 1e-3"
        lambda_delta=1e-3,  # 5.1
        lambda_w=0.0,  # 5.1 gives lambda_w for the joint stage only
        lambda_perceptual=1.0,  # release: LPIPS-VGG x 1 beside the squared error, at the final size
        at_image=True,
        candidates=500,  # release, examples: 500 random z a frame; the paper does not say
    ),
    joint=JointPreset(
        steps=10_000,  # 5.1: "for 10,000 iterations"
        rate=5e-3,  # 5.1
        rate_w=5e-3,  # 5.1 names one rate; equation 5 optimises w_t with the rest
        init=OODInit(resolution=256),  # 4.2: as EG3D's; T^O and phi "from a normal distribution"
        reduction="sum",  # equation 5: sum over ij
        lambda_perceptual=1.0,  # equation 5
        lambda_entropy=1.0,  # 5.1: lambda_b = 1
        entropy_reduction="sum",  # equation 6
        lambda_delta=1e-3,  # 5.1
        lambda_w=1.0,  # 5.1
        lambda_depth=0.1,  # 5.1: lambda_D, single images
        transmittance="sum",  # equation 4: exp(-sum(sigma_O + sigma_I) delta)
    ),
    tune=TunePreset(epochs=100, rate=1e-3),  # 5.1: "for 100 epochs with a learning rate of 1e-3"
    project=_PROJECTOR,
    pti=_PTI,
    pose_opt=_POSE_OPT,
    hfgi3d=_HFGI3D,
    vive3d=person_presets.PAPER,
)

_LOCAL = replace(
    _PAPER,
    name="paper-locality",
    pti=replace(
        _PTI,
        tuning=replace(
            _PTI.tuning,
            # regulizer_alpha = 30, regulizer_l2_lambda = 0.1, regulizer_lpips_lambda = 0.1
            locality=Locality(alpha=30.0, lambda_image=0.1, lambda_perceptual=0.1),
        ),
    ),
)

# In-N-Out, section 5.2: W and W+ for 200 epochs at 1e-3, as its own first stage.
_BASELINE_PTI = PivotPreset(
    codes=_PAPER.codes,  # 5.2: "we first perform a W+ inversion with a learning rate of 1e-3 and 200 epochs"
    tuning=PivotalPreset(
        epochs=200,  # 5.2: "then finetune the generator for 200 epochs"
        rate=3e-5,  # 5.2: "with a learning rate of 3e-5"
        net="vgg",  # its copy of PTI's configuration: vgg, l2 1, lpips 10
        lambda_image=1.0,
        lambda_perceptual=10.0,
    ),
)
_BASELINES = replace(_PAPER, name="in-n-out-baselines", project=None, pti=_BASELINE_PTI)

_RELEASED_CODES = CodePreset(
    epochs=500,  # examples: 500
    rate=5e-3,  # examples: 5e-3
    ratio=0.7,  # --weight_residual 0.7
    schedule="warmup_cosine",  # warm-up over 5 %, cosine fall over the last 25 %
    lambda_perceptual=1.0,
    at_image=True,  # losses at 512
    lambda_delta=1e-3,
    squared=False,  # norms, not squared
    skip_last=True,  # layers 1 to 12 of 13
    candidates=500,
)

_MASKED = Preset(
    name="released-masked",
    codes=_RELEASED_CODES,
    joint=JointPreset(
        steps=10_000,
        rate=5e-3,
        rate_w=5e-5,  # lr / 100
        init=OODInit(resolution=256),
        reduction="mean",
        lambda_perceptual=1.0,  # LPIPS-VGG on the raw image
        lambda_image=1.0,  # squared error at 512 during the raw stage
        lambda_ood=1.0,  # OOD-only masked squared error
        lambda_entropy=1.0,
        entropy_reduction="mean",
        skew=2.0,  # H(b^2)
        lambda_area=1.0,  # mean of max_k(b)^2, from D2NeRF
        transmittance="product",
    ),
    tune=TunePreset(epochs=100, rate=1e-3),
    pti=_BASELINE_PTI,
    pose_opt=_POSE_OPT,
    hfgi3d=_HFGI3D,
    vive3d=person_presets.PAPER,
)

_MASKFREE = Preset(
    name="released-maskfree",
    codes=_RELEASED_CODES,
    joint=replace(
        _MASKED.joint,
        rate_w=5e-4,  # lr_w default of the mask-free script
        lambda_ood=0.0,
        lambda_w=1.0,  # latent_reg, norm
        lambda_delta=2e-3,  # delta_reg, norm
        squared=False,
    ),
    tune=TunePreset(epochs=400, rate=1e-3),  # 400 epochs in the mask-free script
    pti=_BASELINE_PTI,
    pose_opt=_POSE_OPT,
    hfgi3d=_HFGI3D,
    vive3d=person_presets.PAPER,
)

_DRAFT_CODES = CodePreset(
    steps=200,
    frames_per_step=3,
    rays=240,
    expression_rays=160,
    coarse=24,
    fine=24,
    coordinates=True,
    sweep=1.5,
    rate=2e-3,
    coordinate_rate=0.08,
    frame_rate=0.15,
    schedule="warmup_cosine",
    robust=(2.0, 0.25),
    lambda_delta=2e-4,
    prior=2e-4,
    frame_prior=4e-4,
    smoothness=4e-4,
    pose_rate=0.3,
    pose_prior=1e-4,
)

_DRAFT_TUNING = PivotalPreset(
    steps=100, growth=0.5, coarse=24, fine=24, rate=2e-3, schedule="warmup_cosine", stop=0.06
)

_DRAFT = Preset(
    name="draft",
    codes=_DRAFT_CODES,
    joint=JointPreset(
        steps=600,
        growth=0.6,
        frames_per_step=3,
        rays=400,
        coarse=24,
        fine=24,
        init=OODInit(resolution=96, plane_std=0.2, phi_std=0.1, blend_bias=-2.0, density_bias=3.0),
        rate=2e-2,
        decoder_rate=1e-2,
        schedule="warmup_cosine",
        lambda_entropy=2e-3,
        entropy_reduction="mean",
        residual_prior=(0.25, 0.05),
    ),
    tune=TunePreset(
        steps=140,
        growth=0.3,
        frames_per_step=2,
        max_frames=10,
        rate=6e-3,  # 18 steps at 6e-3 came as far as 30 at 2e-3, and stayed calm
        schedule="warmup_cosine",
        coarse=24,
        fine=24,
    ),
    pti=PivotPreset(
        codes=replace(_DRAFT_CODES, robust=None, pose_rate=0.0),
        tuning=_DRAFT_TUNING,
    ),
    pose_opt=PivotPreset(
        codes=_DRAFT_CODES,
        tuning=PivotalPreset(
            steps=100,
            growth=0.5,
            coarse=24,
            fine=24,
            rate=2e-3,
            rate_w=2e-3,
            pose_rate=0.03,
            schedule="warmup_cosine",
            stop=0.06,
        ),
    ),
    hfgi3d=MultiViewPreset(
        codes=replace(_DRAFT_CODES, robust=None, pose_rate=0.0),
        tuning=replace(_DRAFT_TUNING, steps=60),
        views=replace(_HFGI3D.views, frames=3, poses=10),
        joint=replace(_DRAFT_TUNING, steps=60, stop=0.0),
    ),
    vive3d=person_presets.short(_DRAFT_CODES, tuning=100, first=40, later=8),
    render=(24, 24),
)

_FAST_CODES = replace(_DRAFT_CODES, steps=400, rays=700, expression_rays=300, coarse=None, fine=None)
_FAST = replace(
    _DRAFT,
    name="fast",
    codes=_FAST_CODES,
    joint=replace(
        _DRAFT.joint,
        steps=1100,
        rays=1024,
        coarse=None,
        fine=None,
        init=replace(_DRAFT.joint.init, resolution=128),
    ),
    tune=replace(_DRAFT.tune, steps=240, max_frames=0, rate=3e-3, coarse=None, fine=None),
    pti=PivotPreset(
        codes=replace(_FAST_CODES, robust=None, pose_rate=0.0),
        tuning=replace(_DRAFT.pti.tuning, steps=300, coarse=None, fine=None),
    ),
    pose_opt=PivotPreset(
        codes=_FAST_CODES, tuning=replace(_DRAFT.pose_opt.tuning, steps=300, coarse=None, fine=None)
    ),
    hfgi3d=MultiViewPreset(
        codes=replace(_FAST_CODES, robust=None, pose_rate=0.0),
        tuning=replace(_DRAFT_TUNING, steps=200, coarse=None, fine=None),
        views=_HFGI3D.views,
        joint=replace(_DRAFT_TUNING, steps=200, coarse=None, fine=None, stop=0.0),
    ),
    vive3d=person_presets.short(_FAST_CODES, tuning=300, first=60, later=16),
    render=(None, None),
)

_ALL = (_DRAFT, _FAST, _PAPER, _LOCAL, _BASELINES, _MASKED, _MASKFREE)
PRESETS: dict[str, Preset] = {p.name: p for p in _ALL}
"""Every preset by name; all methods know all of them."""


def get_preset(name: str) -> Preset:
    """The preset called `name`, as `draft`, or without some terms, as `draft/no-entropy` (see `ablations`).

    Raises UnknownNameError, which lists those that exist.
    """
    name, *without = name.split("/")
    if name not in PRESETS:
        raise UnknownNameError(f"unknown preset '{name}'; known: {', '.join(PRESETS)}")
    return ablated(PRESETS[name], tuple(without))


def step_count(steps: int, epochs: int, growth: float, frames: int, per_step: int) -> int:
    """Steps of a stage: whole epochs where given, else `steps` grown by (frames / 30) ** growth from 30
    frames on.
    """
    if epochs:
        return epochs * -(-frames // min(per_step, frames))
    return round(steps * max(1.0, frames / 30) ** growth)


def code_steps(codes: CodePreset, frames: int) -> int:
    """Steps of the codes of a clip."""
    return step_count(codes.steps, codes.epochs, codes.growth, frames, codes.frames_per_step)


def split_steps(first: int, second: int, steps: int | None) -> tuple[int, int]:
    """Steps of two stages; `steps`, where given, is their sum, split as the preset splits."""
    if steps is None:
        return first, second
    share = first / (first + second)
    first = min(max(1, round(steps * share)), max(1, steps - 1))
    return first, max(1, steps - first)
