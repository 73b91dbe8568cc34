"""Calibration: known points come back, and the crop rule gives a generator's own frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from inverters.generators.card import CropRule
from pipeline.errors import UserError
from pipeline.faces.bundle_adjustment import POSE, Sphere, project, to_poses
from pipeline.faces.calibrate import (
    calibrate,
    crop_rule_for,
    from_observations,
    generator_renderer,
    spread_views,
    triangulate,
    view_cameras,
)
from pipeline.faces.crop_rule import crop_affine, fit_crop, five_points
from pipeline.faces.landmark_indices import MESH_POINTS, MESH_STABLE, MESH_TO_IBUG, mesh_to_ibug
from pipeline.faces.landmark_model import FaceDetection, box_of
from pipeline.faces.landmark_statistics import basis_of
from tests.pipeline.stages.test_camera import MESH

SPHERE = Sphere()


class KnownFaces:
    """A renderer and a landmark model in one: it sees exactly where the points of each face are."""

    name = "known"

    def __init__(self, shapes, missing=()):
        self.shapes, self.missing = shapes, set(missing)
        self.current = None

    def render(self, index, cam2world, intrinsics):
        self.current = (index, cam2world)
        assert intrinsics[0, 0] == pytest.approx(4.2647)
        return np.zeros((128, 128, 3), np.uint8)

    def detect(self, frame, hint=None):
        index, cam2world = self.current
        if index in self.missing:
            return []
        poses = to_poses(cam2world[None, :3, :3], SPHERE)
        dense = (project(self.shapes[index], poses, SPHERE)[0] * 128).astype(np.float32)
        return [FaceDetection(mesh_to_ibug(dense), dense, box_of(dense), 1.0)]

    def close(self):
        pass


def people(count, seed=0):
    rng = np.random.default_rng(seed)
    width = 1 + 0.05 * rng.normal(size=(count, 1, 3)) * [1, 1, 0]
    return MESH * width


def test_views_cover_every_band_once():
    views = spread_views(5, 7)
    assert views.shape == (5, 7, 2)
    for face in views:
        for axis, limit in ((0, 0.5), (1, 0.22)):
            bands = np.floor((face[:, axis] / limit + 1) / 2 * 7)
            np.testing.assert_array_equal(np.sort(bands), np.arange(7))
    np.testing.assert_array_equal(views, spread_views(5, 7))


def test_triangulation_is_exact_and_forgives_one_bad_view():
    cam2world, intrinsics = view_cameras(spread_views(1, 7)[0], SPHERE)
    image = project(MESH, to_poses(cam2world[:, :3, :3], SPHERE), SPHERE)
    points, residual = triangulate(image, cam2world, intrinsics)
    np.testing.assert_allclose(points, MESH, atol=1e-6)
    assert residual.max() < 1e-6
    image[3, :100] += 0.05
    points, _ = triangulate(image, cam2world, intrinsics)
    assert np.linalg.norm(points - MESH, axis=1).max() < 0.004


def test_known_faces_come_back():
    shapes = people(9)
    known = KnownFaces(shapes, missing=[4])
    steps = []
    found = calibrate(
        known.render, 9, 5, model=known, on_face=lambda done, total: steps.append((done, total))
    )
    assert (found.faces, found.asked) == (8, 9) and steps[-1] == (9, 9)
    assert found.residual < 1e-4
    np.testing.assert_allclose(found.mesh, np.median(np.delete(shapes, 4, axis=0), axis=0), atol=2e-3)
    np.testing.assert_allclose(found.ibug, found.mesh[MESH_TO_IBUG])
    card = found.as_card()
    assert card["478"].shape == (MESH_POINTS, 3) and card["68"].dtype == np.float32


def test_a_generator_whose_faces_cannot_be_found_is_an_error():
    known = KnownFaces(people(5), missing=range(4))
    with pytest.raises(UserError, match="only 1 of 5 faces"):
        calibrate(known.render, 5, 5, model=known)


def test_drift_with_the_view_is_measured():
    shapes = people(6)
    angles = spread_views(6, 7)
    cam2world = np.stack([view_cameras(a, SPHERE)[0] for a in angles])
    observed = np.stack(
        [project(s, to_poses(c[:, :3, :3], SPHERE), SPHERE) for s, c in zip(shapes, cam2world)]
    )
    observed[..., 1] += 0.1 * angles[..., 1, None]
    found = from_observations(observed, cam2world, SPHERE)
    # a shift of everything with pitch: triangulation takes up some of it as height and depth
    assert 0.02 < np.median(found.drift[0, :, 1]) < 0.12
    assert np.abs(np.median(found.drift[0, :, 0])) < 0.01
    basis = basis_of(found.as_card(), MESH_STABLE, np.ones(len(MESH_STABLE)), mesh=True)
    assert basis is not None and basis.drift.shape == (5, len(MESH_STABLE), 2)
    seen = basis.project(basis.mean, np.array([[0, 0.2, 0, 0, 0, 0.0]]), SPHERE)
    plain = project(basis.mean, np.array([[0, 0.2, 0, 0, 0, 0.0]]), SPHERE)
    assert np.median((seen - plain)[..., 1]) > 0.004


def test_the_crop_of_the_mean_face_is_the_identity():
    rule = crop_rule_for(MESH[MESH_TO_IBUG], CropRule())
    frontal = np.zeros((1, POSE))
    landmarks = project(MESH[MESH_TO_IBUG], frontal, SPHERE)[0] * 256
    affine = crop_affine(fit_crop(five_points(landmarks), rule), rule, 256)
    np.testing.assert_allclose(affine, [[1, 0, 0], [0, 1, 0]], atol=1e-6)
    assert (rule.rescale_factor, rule.target, rule.centre_crop) == (300.0, 1024, 700)


def test_the_crop_stays_near_the_identity_as_the_head_turns():
    rule = crop_rule_for(MESH[MESH_TO_IBUG], CropRule())
    poses = np.zeros((25, POSE))
    poses[:, 0], poses[:, 1] = (
        g.ravel() for g in np.meshgrid(np.linspace(-0.4, 0.4, 5), np.linspace(-0.2, 0.2, 5))
    )
    params = fit_crop(five_points(project(MESH[MESH_TO_IBUG], poses, SPHERE)), rule)
    centre = params[:, 1:]
    assert np.abs(centre - 0.5).max() < 0.03
    assert np.abs(params[:, 0] / 700 - 1).max() < 0.05


@pytest.mark.slow
def test_people_can_be_calibrated_and_cropped_to_themselves():
    from inverters.people.params import sample_scores
    from inverters.people.picture import portraits

    scores = sample_scores(6, torch.Generator().manual_seed(3))

    def render(index, cam2world, intrinsics):
        camera = torch.as_tensor(cam2world, dtype=torch.float32)[None]
        lens = torch.as_tensor(intrinsics, dtype=torch.float32)[None]
        image = portraits(scores[index : index + 1], camera, lens, (128, 128))[0]
        return ((image.permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()

    found = calibrate(render, 6, 5)
    assert found.faces == 6 and found.residual < 0.006
    nose, eyes = found.ibug[30], found.ibug[[36, 45]]
    assert abs(nose[0]) < 0.01 and nose[2] > eyes[:, 2].max() + 0.03
    assert eyes[0, 0] < -0.05 and eyes[1, 0] > 0.05
    rule = crop_rule_for(found.ibug, CropRule())
    frontal = np.zeros((1, POSE))
    params = fit_crop(five_points(project(found.ibug, frontal, SPHERE)[0] * 700), rule)
    np.testing.assert_allclose(params, [1, 350, 350], rtol=1e-6)


def test_any_generator_can_be_rendered():
    from inverters.generators.config import GeneratorConfig
    from inverters.generators.eg3d import Generator

    config = GeneratorConfig(
        channel_base=512,
        channel_max=8,
        plane_resolution=32,
        plane_channels=8,
        img_resolution=64,
        neural_rendering_resolution=16,
        feature_channels=8,
        decoder_hidden=16,
        superresolution="small4x",
        sr_channels=(8, 8),
        depth_resolution=6,
        depth_resolution_importance=6,
    )
    torch.manual_seed(0)
    render = generator_renderer(Generator(config).eval(), 2, seed=1)
    cam2world, intrinsics = view_cameras(np.array([[0.0, 0.0], [0.3, 0.1]]), SPHERE)
    first = render(0, cam2world[0], intrinsics)
    assert first.shape == (64, 64, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, render(0, cam2world[0], intrinsics))
    assert (first != render(1, cam2world[0], intrinsics)).any()
