"""Numbers of `vive3d`; beside each one of PAPER, where it comes from."""

from __future__ import annotations

from dataclasses import replace

from inverters.fitting.weights import Locality, PivotalPreset
from inverters.methods.hyperparameters import CodePreset, PersonPreset, SequencePreset

# afruehstueck/VIVE3D (Fruehstueck et al. 2023), personalize_generator.py and invert_video.py, their defaults.
# Its cameras begin at the front, with a focal length and a pivot of its own; here they begin at the
# landmarks'. Its face is what BiSeNet says, here what lies about the card's landmarks. Yaw and pitch have the
# codes' rate, there in radians, here in units of 0.05.
PAPER = PersonPreset(
    frames=3,  # README: three --frame
    codes=CodePreset(
        steps=600,  # 600
        frames_per_step=3,  # all at once
        space="w",  # w_person and offsets (1, 512)
        rate=0.01,  # --learning_rate 0.01
        schedule="warmup_cosine",  # warm-up over 5 %, cosine fall over the last 25 %
        w_noise=0.02,  # w_std x 0.02 x (1 - t / 0.75)^2
        residual_std=0.02,  # offsets = randn x 0.02
        lambda_residual=(0.05, 0.005),  # --weight_wdist 0.05, --weight_wdist_target 0.005
        lambda_absolute=0.15,  # --weight_pix 0.05 x sum of |error| / 128^2, over three channels
        lambda_perceptual=1.0,  # --weight_lpips 1.0, of the raw picture
        net="alex",  # LPIPS-alex
        lambda_face=2.0,  # --weight_face 2.0
        pose_rate=0.2,  # 0.01 radians
        pose_frames=True,
        pose_level=True,  # yaw and pitch
    ),
    tuning=PivotalPreset(
        steps=400,  # 400
        frames_per_step=3,
        rate=1e-3,  # Adam 1e-3
        parts=("backbone.", "decoder."),  # super-resolution rests
        net="alex",
        lambda_image=0.0,
        lambda_absolute=1.0,  # L1 of the raw picture; our notes of the release give no weight: 1
        lambda_perceptual=1.0,  # LPIPS-alex of the final one; likewise
        # alpha = 0.1, squared error and LPIPS 0.05 each, both times 1e-4
        locality=Locality(alpha=0.1, lambda_image=5e-6, lambda_perceptual=5e-6),
        stop=0.002,  # the three frames' sum at most 0.006
    ),
    sequence=SequencePreset(
        first=200,  # 200
        later=50,  # 50
        codes=CodePreset(
            rate=0.01,  # Adam 0.01
            lambda_absolute=0.25,  # L1 of the final picture
            lambda_perceptual=1.0,  # LPIPS-alex of the final picture
            net="alex",
            lambda_face=1.2,  # LPIPS and L1
            pose_rate=0.2,  # 0.01 radians
        ),
        lambda_offset=0.01,  # of the norm
        lambda_previous=0.02,  # of the norm; the release compares with the last step, which says nothing
        stop=0.2,  # --loss_threshold 0.2
    ),
)


def short(codes: CodePreset, tuning: int, first: int, later: int) -> PersonPreset:
    """The method at a smaller cost, ours: the rays, samples and rates of `codes`, which work in coordinates;
    so many steps of the weights, of the first frame and of each later one.
    """
    person = replace(
        codes, space="w", robust=None, smoothness=0.0, pose_frames=True, pose_level=True, pose_rate=0.1
    )
    frame = replace(
        person,
        space="w+",
        frame_rate=0.08,
        lambda_absolute=1.0,
        lambda_delta=0.0,
        prior=0.0,
        pose_rate=0.05,
    )
    return PersonPreset(
        frames=4,
        codes=person,
        tuning=PivotalPreset(
            steps=tuning,
            coarse=codes.coarse,
            fine=codes.fine,
            rate=2e-3,
            schedule="warmup_cosine",
            parts=PAPER.tuning.parts,
            lambda_absolute=1.0,
            stop=0.06,
        ),
        sequence=SequencePreset(first, later, frame, lambda_offset=2e-3, lambda_previous=4e-3),
    )
