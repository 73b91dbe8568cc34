"""Settings of the fit of codes (`fitting.codes`)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from inverters.fitting.schedules import step_count
from inverters.fitting.spaces import Skip, find_space


@dataclass(frozen=True)
class CodeSettings:
    """Fit of the codes of a clip (In-N-Out, section 4.1): w_t = shared code + ratio * residual_t.

    The codes are optimised in W+ or W, or first in coordinates of the latent space (`coordinates`), with a
    correction of the cameras beside them (`pose_...`).
    """

    steps: int = 0
    """Steps for a clip of 30 frames; longer clips take more, see `growth`. Not used if `epochs` is set."""
    begun_steps: int = 0
    """The same where the fit begins at what an encoder told; 0: `steps`."""
    epochs: int = 0
    """Visits of every frame."""
    growth: float = 0.7
    """The number of steps grows with (frames / 30) to this power."""
    frames_per_step: int = 1
    space: str = "w+"
    """Latent space of the codes, see `spaces.SPACES`."""
    base_frames: bool = True
    """A base code for each frame, about the one of the clip; False: that of the clip alone."""
    base_rate: float = 0.01
    """Learning rate of the base code."""
    skip: Skip = "kept"
    """What becomes of the tri-plane that the layers up to the base code made."""
    base_encoder: str | None = None
    """File of an encoder of ours that tells the base codes at first (`encoders.base_code`); None: the first
    codes make them.
    """
    lambda_base: float = 10.0
    """Weight of the base code's mean squared distance from its start (Z+, equation 4)."""
    lambda_p: float = 0.01
    """Weight of the penalty in P_N, in spaces that have it."""
    rays: int = 0
    """Random rays a frame and step; 0 takes whole raw frames."""
    expression_rays: int = 0
    """Additional rays about brows, eyes and mouth: a blink is only a few pixels of a raw frame."""
    patch: int = 0
    """Side in raw pixels of a square of the face whose rays join the random rays of each frame; 0: none."""
    lambda_features: float = 0.0
    """Weight of that square's distance in the features of the judge, our network that reads faces."""
    coarse: int | None = None
    fine: int | None = None
    """Samples a ray; None takes the generator's."""
    coordinates: bool = False
    """Optimise coordinates of the latent space (see `latents`) first, then W+ as well (see `offset_from`);
    False: W+ alone.
    """
    offset_from: float = 0.5
    """Share of a run in coordinates after which W+ offsets may move too; 1: never. Offsets fit a person whom
    the coordinates do not know, and whatever covers the face.
    """
    candidates: int = 0
    """Random faces among which the beginning is chosen; 0 begins at the mean."""
    sweep: float = 0.0
    """Step by which each shared coordinate is tried up and down once, before frames may differ; 0: none.
    Runs of fewer steps than trials leave it out.
    """
    rate: float = 1e-3
    """Learning rate of the shared W+ code and of its residuals."""
    coordinate_rate: float = 0.05
    """Learning rate of the shared coordinates."""
    frame_rate: float = 0.1
    """Learning rate of the per-frame coordinates."""
    ratio: float = 1.0
    """Factor of the residuals."""
    shared: bool = True
    """Optimise the code that all frames share; False: the residuals alone. No effect with `coordinates`."""
    schedule: str = "constant"
    """Of all learning rates, see `schedules.SCHEDULES`."""
    w_noise: float = 0.0
    """Standard deviation of the noise on the codes at first, in units of the norm of w's deviation; it falls
    by `schedules.noise_ramp`.
    """
    robust: tuple[float, float] | None = None
    """First and last scale of the Geman-McClure loss, in colour units of [-1,1]; None: squared error."""
    robust_median: float = 1.0
    """The scale is at least so many times the median error of a step's pixels."""
    at_image: bool = False
    """Compare the final image as well as the raw one."""
    features_at: int = 0
    """Compare LPIPS of the final image alone, at most this wide, as the projectors do; 0: colours as well."""
    lambda_absolute: float = 0.0
    """Weight of the colours' mean absolute error, which then replaces the squared error; 0 keeps that."""
    lambda_perceptual: float = 0.0
    """Weight of LPIPS."""
    net: str = "vgg"
    """Network of LPIPS."""
    lambda_face: float = 0.0
    """Weight of colours and LPIPS of the final image about brows, eyes, nose and mouth. Needs whole frames,
    and a generator whose card has landmarks.
    """
    residual_std: float = 0.0
    """Standard deviation of the residuals at first."""
    lambda_residual: tuple[float, float] | None = None
    """First and last weight of the residuals' norm; it falls by 1 % a step from step 100 on."""
    lambda_delta: float = 0.0
    """Weight of L_delta (In-N-Out, section 4.1), see `losses.layer_spread`."""
    lambda_w: float = 0.0
    """Weight of the distance from the mean code (In-N-Out, equation 1)."""
    squared: bool = True
    """Squared norms in L_delta and L_w (paper); False: plain norms (release)."""
    skip_last: bool = False
    """L_delta without the last layer (release)."""
    prior: float = 0.0
    """Weight of the squared shared coordinates."""
    frame_prior: float = 0.0
    """Weight of the squared per-frame coordinates."""
    pose_rate: float = 0.0
    """Learning rate of the cameras' correction (`fitting.pose`); 0 keeps the cameras."""
    pose_every: int = 0
    """Frames from one knot of the correction to the next; 0: one for the clip, 1: one for each frame."""
    passing_pose_every: int = 0
    """The same where `pose_every` is 0 and what covers the face comes and goes (`targets.cover_passes`)."""
    pose_turns: int = 0
    """Cameras alone and codes alone take turns of so many steps; 0: cameras join the codes when frames may
    differ.
    """
    pose_level: bool = False
    """Correct the cameras in yaw and pitch alone."""
    pose_prior: float = 0.0
    """Weight of the squared correction, in its own units."""
    smoothness: float = 0.0
    """Weight of the squared distance of a frame's coordinates from the mean of its neighbours'."""

    def steps_for(self, frames: int) -> int:
        """Return the number of steps for a clip of so many frames."""
        return step_count(self.steps, self.epochs, self.growth, frames, self.frames_per_step)


def begun(settings: CodeSettings) -> CodeSettings:
    """Return the settings for a fit that begins at what an encoder told."""
    return replace(settings, steps=settings.begun_steps or settings.steps)


def in_space(settings: CodeSettings, name: str) -> CodeSettings:
    """Return the settings for a fit in another latent space.

    Beyond W and W+ nothing is fitted in coordinates, and codes of z move by the paper's rate at least, which
    is for numbers of unit spread.

    Raises:
        UnknownNameError: there is no such space.
    """
    space = find_space(name)
    if name in ("w", "w+"):
        return replace(settings, space=name)
    return replace(
        settings,
        space=name,
        coordinates=False,
        candidates=0,
        sweep=0.0,
        lambda_delta=0.0,
        lambda_w=0.0,
        rate=settings.rate if space.codes == "w" else max(settings.rate, 0.01),  # Z+: "learning rate to 0.01"
    )
