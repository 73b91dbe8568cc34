"""Stage `camera`: EG3D's camera of every frame, from landmarks or from official labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.clip import F64, I64, Cameras, Crops, FaceTrack, Status
from pipeline.errors import UserError
from pipeline.faces.bundle_adjustment import POSE, Basis, Fit, Priors, Sphere, cameras, fit
from pipeline.faces.landmark_indices import IBUG_MOVING, IBUG_STABLE, MESH_MOVING, MESH_STABLE
from pipeline.faces.landmark_statistics import basis_of
from pipeline.faces.smoothing import smooth
from pipeline.request.settings import CameraSettings, Settings
from pipeline.stages import align, decode
from pipeline.stages import track as track_stage
from pipeline.stages.facts import Facts
from pipeline.stages.run import StageRun
from pipeline.stages.stage import Stage
from pipeline.video.warp import warp_points
from storage import content_hash

Floats = npt.NDArray[np.floating[Any]]

_SHAPE_FRAMES = 96
"""Frames from which the person's landmark shape is fitted."""
_FRAMES_AT_ONCE = 256
"""Bounds the memory of a long clip's fit."""
_MOVING_WEIGHT = 0.7
_JITTER = 0.06
"""Radians beyond which a correction by smoothing is a turn of the head, and not jitter of the landmarks."""
_EFFECTIVE_POINTS = 40.0
"""Landmark errors within a frame are correlated: all points weigh as this many independent ones."""


class CameraRule(Protocol):
    """Where a generator's cameras stand (`inverters.generators.card.CameraRule`)."""

    @property
    def radius(self) -> float:
        """Distance of the camera from the world's origin, world units."""

    @property
    def pivot(self) -> tuple[float, float, float]:
        """The point that cameras look at, world units."""

    @property
    def focal(self) -> float:
        """Focal length in crop widths."""


def find_cameras(
    track: FaceTrack,
    crops: Crops,
    landmarks3d: Mapping[str, Floats],
    camera_rule: CameraRule,
    settings: CameraSettings,
    times: F64,
) -> Cameras:
    """Cameras of the labels file in the settings, or else estimated ones. Raises UserError."""
    if settings.labels is None:
        return estimate_cameras(track, crops, landmarks3d, camera_rule, settings, times)
    from pipeline.faces.camera_labels import read_dataset_json

    cameras = read_dataset_json(settings.labels, len(track.status))
    usable = track.usable
    without = usable[~np.isfinite(cameras.cam2world[usable]).all(axis=(1, 2))]
    if len(without):
        raise UserError(
            f"--cameras {settings.labels}: there is no label for frame {without[0]}, which shows a face "
            f"({len(without)} of {len(usable)} such frames); give one label a frame"
        )
    return cameras


def estimate_cameras(
    track: FaceTrack,
    crops: Crops,
    landmarks3d: Mapping[str, Floats],
    camera_rule: CameraRule,
    settings: CameraSettings,
    times: F64,
) -> Cameras:
    """EG3D's camera of every frame, by projecting the generator's landmarks onto the frame's.

    First, the person's landmark shape and the poses of some frames are fitted together, starting from the
    generator's mean shape; then the pose of every frame to that shape; then poses are smoothed in time, never
    across a gap or a cut; turns faster than jitter stay. Points that expressions move weigh less; a Cauchy
    loss bounds the weight of covered points.

    `landmarks3d`: the generator's mean landmarks in world units, [478,3] as `mediapipe478` (or `478`) and
    [68,3] as `ibug68` (or `68`). Position is `camera_rule.radius` from the world's origin (EG3D's `orig`
    rule), the focal length is the rule's, and the view may turn a little off the pivot, since the crop
    follows the landmarks. times [T]: of the frames, in seconds. A frame that repeats another has its camera.
    Returns NaN rows for frames without a face. Raises UserError where the generator has no landmarks.
    """
    sphere = Sphere(camera_rule.focal, camera_rule.radius, camera_rule.pivot)
    observed, basis = _points_and_basis(track, crops, landmarks3d)
    fitted = track.fitted
    if not len(fitted):
        return _to_cameras(np.zeros((0, POSE)), track, sphere)
    priors = Priors()
    chosen = _spread(np.flatnonzero(track.status[fitted] == Status.FOUND), _SHAPE_FRAMES)
    together = fit(basis, observed[chosen], sphere, priors)
    poses = _every_pose(basis, observed, sphere, priors, together, chosen)
    # yaw, pitch and three small turns: coordinates without a seam for any face that shows its landmarks
    run = track.runs[fitted]
    poses = smooth(poses, times[fitted], run, "gaussian", settings.smoothing, _JITTER)
    return _to_cameras(poses, track, sphere)


def _every_pose(
    basis: Basis, observed: F64, sphere: Sphere, priors: Priors, together: Fit, chosen: I64
) -> F64:
    """Poses [K,6] of all frames now that the person is known, each from the fitted frame nearest to it."""
    count = len(observed)
    nearest = np.abs(np.arange(count)[:, None] - chosen).argmin(axis=1)
    poses = np.empty((count, POSE))
    for first in range(0, count, _FRAMES_AT_ONCE):
        part = slice(first, first + _FRAMES_AT_ONCE)
        rows = nearest[part]
        start = Fit(together.poses[rows], together.frame_scores[rows], together.scores, together.robust[rows])
        poses[part] = fit(basis, observed[part], sphere, priors, start, with_person=False, frames=count).poses
    return poses


def _points_and_basis(track: FaceTrack, crops: Crops, landmarks3d: Mapping[str, Floats]) -> tuple[F64, Basis]:
    """Image points [K,N,2] in crop widths of the fitted frames, and the basis of the same points."""
    usable = track.fitted
    has_mesh = not np.isnan(track.dense[usable]).any()
    for mesh in (True, False) if has_mesh else (False,):
        stable, moving = (MESH_STABLE, MESH_MOVING) if mesh else (IBUG_STABLE, IBUG_MOVING)
        weight = np.concatenate([np.ones(len(stable)), np.full(len(moving), _MOVING_WEIGHT)])
        indices = np.concatenate([stable, moving])
        basis = basis_of(landmarks3d, indices, weight * (_EFFECTIVE_POINTS / weight.sum()), mesh)
        if basis is not None:
            source = track.dense if mesh else track.landmarks
            points = warp_points(source[usable][:, indices], crops.affine[usable])
            return points / crops.size, basis
    raise UserError(
        "this generator has no 3D landmarks, so cameras cannot be estimated; "
        "run `invid calibrate` on it or give official cameras with --cameras dataset.json"
    )


def _spread(indices: I64, count: int) -> I64:
    """At most `count` of `indices`, evenly spread."""
    if len(indices) <= count:
        return indices
    chosen: I64 = indices[np.linspace(0, len(indices) - 1, count).round().astype(np.int64)]
    return chosen


def _to_cameras(poses: F64, track: FaceTrack, sphere: Sphere) -> Cameras:
    """Poses [K,6] of the fitted frames as cameras of all frames of a track."""
    usable, count = track.usable, len(track.status)
    cam2world = np.full((count, 4, 4), np.nan, dtype=np.float32)
    intrinsics = np.full((count, 3, 3), np.nan, dtype=np.float32)
    rotation, position = cameras(poses[track.rows], sphere)
    cam2world[usable, :3, :3], cam2world[usable, :3, 3] = rotation, position
    cam2world[usable, 3] = (0, 0, 0, 1)
    intrinsics[usable] = ((sphere.focal, 0, 0.5), (0, sphere.focal, 0.5), (0, 0, 1))
    return Cameras(cam2world, intrinsics)


def compute(run: StageRun) -> None:
    """Write `cam2world` [T,4,4] and `intrinsics` [T,3,3]."""
    card, times = run.models.generator.card, run.of(decode.STAGE).times
    track, crops = run.of(track_stage.STAGE), run.of(align.STAGE)
    found = find_cameras(track, crops, card.landmarks3d, card.camera_rule, run.settings.camera, times)
    run.writer.put("cam2world", found.cam2world)
    run.writer.put("intrinsics", found.intrinsics)


def load(run: StageRun) -> Cameras:
    """The cameras from their arrays."""
    arrays = run.result.arrays
    return Cameras(arrays["cam2world"].read(), arrays["intrinsics"].read())


def facts(facts: Facts) -> dict[str, Any]:
    """The generator's camera rule and landmarks, and the labels that take the place of estimates."""
    landmarks = {name: content_hash(np.asarray(points)) for name, points in facts.card.landmarks3d.items()}
    return {
        "camera_rule": asdict(facts.card.camera_rule),
        "labels": facts.labels,
        "landmarks3d": landmarks,
        "generator": facts.fingerprint,
    }


STAGE = Stage(
    "camera",
    version=2,
    load=load,
    compute=compute,
    reads=("camera", "generator"),
    needs=("decode", "track", "align"),
    facts=facts,
)


def stages(settings: Settings) -> list[Stage[Cameras]]:
    """The stage of every request."""
    return [STAGE]
