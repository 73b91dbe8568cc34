"""Cameras from landmarks, from end to end of the stage, with faces made for the purpose."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from inverters.generators.card import CameraRule, CropRule
from inverters.metrics import rotation_error_deg
from pipeline.clip import Crops, FaceTrack, Status
from pipeline.errors import UserError
from pipeline.faces.bundle_adjustment import POSE, Sphere, cameras, project
from pipeline.faces.calibrate import crop_rule_for
from pipeline.faces.landmark_indices import IBUG_POINTS, MESH_POINTS, MESH_TO_IBUG
from pipeline.request.settings import CameraSettings
from pipeline.stages.align import align
from pipeline.stages.camera import estimate_cameras

SPHERE = Sphere()
PLAIN = CameraSettings(smoothing=0.0)
FRAME = 640.0
TIMES = np.arange(60) / 25


def mean_mesh():
    """A stand-in for mean landmarks [478,3]: a mirror-symmetric dome with eyes, nose and mouth in place."""
    rng = np.random.default_rng(0)
    mesh = rng.uniform([-0.12, -0.19, 0], [0.12, 0.15, 0], (MESH_POINTS, 3))
    places = {36: (-0.08, 0.013), 39: (-0.035, 0.013), 42: (0.035, 0.013), 45: (0.08, 0.013)}
    places |= {30: (0, -0.045), 48: (-0.04, -0.09), 54: (0.04, -0.09)}
    free = np.setdiff1d(np.arange(MESH_POINTS), MESH_TO_IBUG[list(places)])
    mesh[free[1::2], :2] = mesh[free[: len(free) // 2 * 2 : 2], :2] * [-1, 1]
    mesh[free[-1], 0] = 0.0
    for point, place in places.items():
        mesh[MESH_TO_IBUG[point], :2] = place
    mesh[:, 2] = 0.15 - 3.0 * mesh[:, 0] ** 2 - 1.2 * mesh[:, 1] ** 2
    mesh[:, 2] += 0.05 * np.exp(-(mesh[:, 0] ** 2 + (mesh[:, 1] + 0.045) ** 2) / 0.002)
    return mesh


MESH = mean_mesh()
CARD = {"478": MESH.astype(np.float32), "68": MESH[MESH_TO_IBUG].astype(np.float32)}
RULE = crop_rule_for(MESH[MESH_TO_IBUG], CropRule())


def rotation_errors(estimated, truth):
    """Angle in degrees [T] between the rotations of two cam2world [T,4,4]."""
    return rotation_error_deg(torch.from_numpy(estimated), torch.from_numpy(truth)).numpy()


def motion(count, seed=0):
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 4, count)
    poses = np.zeros((count, POSE))
    poses[:, 0] = 0.36 * np.sin(1.3 * t + rng.uniform(0, 6))
    poses[:, 1] = 0.12 * np.sin(2.1 * t + rng.uniform(0, 6))
    return poses


def seen(poses, noise=0.0, shape=MESH, seed=0, frame=FRAME):
    """Track and crops of a face seen from `poses`, in crops half as wide as the frame and off its middle."""
    rng = np.random.default_rng(seed)
    image = project(shape, poses, SPHERE) + noise * rng.normal(size=(len(poses), len(shape), 2))
    dense = (image * frame / 2 + frame * np.array([0.3, 0.1])).astype(np.float32)
    status = np.full(len(poses), Status.FOUND, np.uint8)
    track = FaceTrack(dense[:, MESH_TO_IBUG], dense, status, "test")
    return track, align(track, RULE, 256)


def truth_of(poses):
    rotation, position = cameras(poses, SPHERE)
    matrix = np.tile(np.eye(4), (len(poses), 1, 1))
    matrix[:, :3, :3], matrix[:, :3, 3] = rotation, position
    return matrix


def without(track, frames, status=Status.NO_FACE):
    """The same track with no face in these frames."""
    landmarks, dense, state = track.landmarks.copy(), track.dense.copy(), track.status.copy()
    landmarks[frames], dense[frames], state[frames] = np.nan, np.nan, status
    return FaceTrack(landmarks, dense, state, track.detector)


def test_cameras_of_the_mean_face_are_found():
    poses = motion(40)
    found = estimate_cameras(*seen(poses), CARD, CameraRule(), PLAIN, TIMES)
    errors = rotation_errors(found.cam2world, truth_of(poses))
    assert np.median(errors) < 0.6 and errors.max() < 2
    np.testing.assert_allclose(np.linalg.norm(found.cam2world[:, :3, 3], axis=1), 2.7, rtol=1e-5)
    np.testing.assert_allclose(found.intrinsics[:, [0, 1], [0, 1]], 4.2647, rtol=1e-6)
    np.testing.assert_allclose(found.intrinsics[:, :2, 2], 0.5)
    np.testing.assert_array_equal(found.cam2world[:, 3], [[0, 0, 0, 1]] * 40)


@pytest.mark.parametrize("seed", range(3))
def test_another_person_with_noise_stays_within_the_target(seed):
    rng = np.random.default_rng(seed)
    bend = rng.normal(0, 0.006, 3) * [1, 1, 1]
    shape = MESH * (1 + 0.05 * rng.normal(size=3) * [1, 1, 0]) + bend * np.sin(9 * MESH[:, 1:2])
    poses = motion(40, seed)
    found = estimate_cameras(*seen(poses, 0.003, shape, seed), CARD, CameraRule(), CameraSettings(), TIMES)
    errors = rotation_errors(found.cam2world, truth_of(poses))
    assert np.median(errors) <= 2.5 and np.percentile(errors, 95) <= 5


def test_the_answer_does_not_depend_on_the_frames_size():
    poses = motion(12)
    small = estimate_cameras(*seen(poses, frame=200.0), CARD, CameraRule(), PLAIN, TIMES)
    large = estimate_cameras(*seen(poses, frame=1600.0), CARD, CameraRule(), PLAIN, TIMES)
    np.testing.assert_allclose(small.cam2world, large.cam2world, atol=1e-3)


def test_one_frame_is_enough():
    poses = motion(1) * 0
    found = estimate_cameras(*seen(poses), CARD, CameraRule(), CameraSettings(), TIMES)
    assert rotation_errors(found.cam2world, truth_of(poses))[0] < 1.5


def test_a_model_without_a_mesh_uses_the_68_points():
    poses = motion(30)
    track, crops = seen(poses)
    plain = FaceTrack(track.landmarks, np.full_like(track.dense, np.nan), track.status, "fan")
    found = estimate_cameras(plain, crops, CARD, CameraRule(), PLAIN, TIMES)
    assert np.median(rotation_errors(found.cam2world, truth_of(poses))) < 1.5


def test_frames_without_a_face_have_no_camera_and_do_not_disturb_the_others():
    poses = motion(30)
    track, _ = seen(poses, 0.002)
    gap = without(track, slice(10, 18))
    found = estimate_cameras(gap, align(gap, RULE, 256), CARD, CameraRule(), CameraSettings(), TIMES)
    assert np.isnan(found.cam2world[10:18]).all() and np.isnan(found.intrinsics[10:18]).all()
    rest = np.r_[0:10, 18:30]
    assert np.median(rotation_errors(found.cam2world, truth_of(poses))[rest]) < 1.5
    nothing = without(track, slice(None))
    empty = estimate_cameras(nothing, align(nothing, RULE, 256), CARD, CameraRule(), PLAIN, TIMES)
    assert np.isnan(empty.cam2world).all()


def test_smoothing_quiets_the_path_and_never_crosses_a_gap():
    poses = motion(40)
    poses[20:, 0] += 0.4
    track, _ = seen(poses, 0.004)
    gap = without(track, [18, 19])
    crops = align(gap, RULE, 256)
    rough, calm = (
        estimate_cameras(gap, crops, CARD, CameraRule(), CameraSettings(smoothing=s), TIMES)
        for s in (0.0, 0.28)
    )

    def jitter(found):
        rows = found.cam2world[:18, :3, 3]
        return np.abs(np.diff(rows, n=2, axis=0)).mean()

    assert jitter(calm) < 0.6 * jitter(rough)
    yaw = np.arctan2(calm.cam2world[:, 0, 3], calm.cam2world[:, 2, 3])
    # a smoothing that looked across the gap would pull the two sides together
    assert abs((yaw[20] - yaw[17]) - (poses[20, 0] - poses[17, 0])) < 0.08


def test_the_path_moves_by_less_than_a_turn_between_frames():
    poses = motion(60)
    found = estimate_cameras(*seen(poses, 0.003), CARD, CameraRule(), CameraSettings(), TIMES)
    steps = rotation_errors(found.cam2world[1:], found.cam2world[:-1])
    assert steps.max() < 4


def test_a_generator_without_landmarks_is_an_error_that_says_what_to_do():
    track, crops = seen(motion(2))
    with pytest.raises(UserError, match="no 3D landmarks"):
        estimate_cameras(track, crops, {}, CameraRule(), PLAIN, TIMES)


def test_interpolated_frames_get_cameras_too():
    track, _ = seen(motion(12))
    status = track.status.copy()
    status[5] = Status.INTERPOLATED
    filled = FaceTrack(track.landmarks, track.dense, status, "test")
    crops = Crops(align(filled, RULE, 256).affine, 256)
    assert np.isfinite(estimate_cameras(filled, crops, CARD, CameraRule(), PLAIN, TIMES).cam2world).all()


def test_layouts_are_the_ones_the_card_names():
    assert CARD["478"].shape == (MESH_POINTS, 3) and CARD["68"].shape == (IBUG_POINTS, 3)
    track, crops = seen(motion(5))
    renamed = {"mediapipe478": CARD["478"], "ibug68": CARD["68"]}
    a = estimate_cameras(track, crops, CARD, CameraRule(), PLAIN, TIMES)
    b = estimate_cameras(track, crops, renamed, CameraRule(), PLAIN, TIMES)
    np.testing.assert_array_equal(a.cam2world, b.cam2world)
