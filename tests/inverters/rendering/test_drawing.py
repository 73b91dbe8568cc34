"""Drawing of meshes, glass and strands, and visibility: compiled against the reference, and geometry."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from inverters.errors import RendererError
from inverters.rendering import backends, build
from inverters.rendering.drawing import (
    Camera,
    Canvas,
    draw_strands,
    draw_translucent,
    draw_triangles,
    hits,
    interpolate,
    label_alpha,
    new_canvas,
    resolve,
    visibility,
)
from tests.inverters.rendering.drawing_cases import Scene, camera, check_equal, reference, sphere

BUILT = build.library_path("cpu").exists()
compiled = pytest.mark.skipif(not BUILT, reason="no compiled CPU renderer (no C++ compiler at install)")
GREY = torch.tensor([0.5, 0.5, 0.5])
RED, GREEN = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0])


@pytest.fixture(params=["auto", "reference"])
def backend(request: pytest.FixtureRequest) -> str:
    """Runs the test with compiled code, then with the reference."""
    with backends.using(request.param):
        yield request.param


def square(z: float, half: float = 0.3, x: float = 0.0) -> tuple[Tensor, Tensor]:
    """Two triangles that face +z."""
    corners = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]) * half
    vertices = torch.cat([corners, torch.full((4, 1), z)], 1) + torch.tensor([x, 0.0, 0.0])
    return vertices, torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)


def labels_of(triangles: Tensor, label: int = 1) -> Tensor:
    return torch.full((len(triangles),), label, dtype=torch.uint8)


def draw_square(canvas: Canvas, z: float, colour: Tensor, label: int = 1, half: float = 0.3) -> None:
    vertices, triangles = square(z, half)
    colours = colour.expand(4, 3).contiguous()
    draw_triangles(canvas, camera(), vertices, colours, triangles, labels_of(triangles, label))


# Compiled code against the reference


@compiled
@pytest.mark.parametrize("seed", range(40))
def test_equals_the_reference(seed: int) -> None:
    scene = Scene(seed)
    check_equal(scene.draw(), reference(scene.draw))


@compiled
@pytest.mark.parametrize("radius", [2e-4, 1.2e-3, 0.02])
def test_long_strands_equal_the_reference(radius: float) -> None:
    rng = torch.Generator().manual_seed(2)
    points = (torch.randn(30, 150, 3, generator=rng) * 0.02).cumsum(1)
    points[:, 100:] *= 1.5
    colours = torch.rand(points.shape, generator=rng)

    def draw() -> dict[str, Tensor]:
        canvas = new_canvas((300, 260), GREY)
        draw_strands(canvas, camera(0.5), points, colours, radius, 0.7, 0.02, 9)
        return {f"strands {name}": value for name, value in vars(canvas).items()}

    check_equal(draw(), reference(draw))


@compiled
@pytest.mark.parametrize("seed", range(4))
def test_does_not_depend_on_the_number_of_threads(seed: int) -> None:
    scene, before = Scene(seed), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = scene.draw()
        torch.set_num_threads(3)
        three = scene.draw()
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(value, three[name]) for name, value in one.items())


def test_without_the_library_the_reference_draws(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backends, "_here", tmp_path)
    backends.library.cache_clear()
    backends._say_once.cache_clear()
    try:
        with caplog.at_level("WARNING"):
            for _ in range(2):
                draw_square(new_canvas(8, GREY), 0.2, RED)
        assert len([r for r in caplog.records if "plain torch" in r.message]) == 1
        with backends.using("cpu"), pytest.raises(RendererError, match="not built"):
            draw_square(new_canvas(8, GREY), 0.2, RED)
    finally:
        backends.library.cache_clear()


# Triangles


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("size", [64, 97])
def test_a_closed_mesh_has_no_holes(size: int) -> None:
    vertices, triangles = sphere(40, 41)
    canvas = new_canvas(size, GREY)
    draw_triangles(canvas, camera(0.3, 0.2), vertices, vertices.abs(), triangles, labels_of(triangles))
    drawn = canvas.label == 1
    for line in (*drawn, *drawn.T):
        places = line.nonzero()[:, 0]
        assert len(places) == 0 or len(places) == places[-1] - places[0] + 1
    assert 0.2 < drawn.float().mean() < 0.4
    assert bool((canvas.depth[drawn] < 2.71).all())
    assert bool(canvas.depth[~drawn].isinf().all())


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("scale", [1 / 64, 1 / 10, 1 / 3])
def test_samples_on_shared_edges_are_drawn_once(scale: float) -> None:
    # A camera whose samples lie on the grid's vertices and edges; alpha 1/2 shows how often each is drawn.
    n = 17
    grid = torch.stack(torch.meshgrid(torch.arange(n), torch.arange(n), indexing="xy"), -1).reshape(-1, 2)
    vertices = torch.cat([(grid - n // 2) * scale, torch.ones(n * n, 1)], 1)
    corner = (torch.arange(n - 1)[:, None] * n + torch.arange(n - 1)).reshape(-1, 1)
    triangles = torch.cat([corner + torch.tensor(c) for c in ([0, 1, n + 1], [0, n + 1, n])]).int()
    plain = Camera(torch.eye(4), torch.tensor([[1.0, 0.0, 0.5 / 64], [0.0, 1.0, 0.5 / 64], [0.0, 0.0, 1.0]]))
    rgba = torch.tensor([1.0, 1.0, 1.0, 0.5]).expand(n * n, 4).contiguous()
    canvas = new_canvas(64, torch.zeros(3))
    draw_translucent(canvas, plain, vertices, rgba, triangles)
    drawn = canvas.colour[..., 0]
    assert bool(((drawn == 0) | ((drawn - 0.5).abs() < 1e-5)).all())
    edge = (n // 2) * scale * 64
    assert int((drawn > 0).sum()) == min(int(edge + 0.999), 64) ** 2


@pytest.mark.usefixtures("backend")
def test_colours_are_interpolated_with_perspective() -> None:
    vertices, triangles = square(0.0)
    vertices[:, 2] = vertices[:, 0] * 4 + 0.3
    colours = (vertices + torch.tensor([1.0, 1.0, 2.0])) / 4
    canvas = new_canvas(64, GREY)
    view = camera()
    draw_triangles(canvas, view, vertices, colours, triangles, labels_of(triangles))
    row, column = (canvas.label == 1).nonzero().unbind(1)
    assert len(row) > 500
    depth = canvas.depth[row, column]
    uv = torch.stack([column + 0.5, row + 0.5], 1) / 64
    xy = (uv - view.intrinsics[:2, 2]) / view.intrinsics.diagonal()[:2] * depth[:, None]
    world = torch.cat([xy, depth[:, None]], 1) @ view.cam2world[:3, :3].T + view.cam2world[:3, 3]
    seen = canvas.colour[row, column] * 4 - torch.tensor([1.0, 1.0, 2.0])
    # Positions are rounded to 1/256 sample, which a steep surface magnifies.
    torch.testing.assert_close(seen, world, atol=2e-3, rtol=0)


@pytest.mark.usefixtures("backend")
def test_hits_are_what_is_drawn() -> None:
    vertices, triangles = sphere(20, 21)
    colours = vertices.abs()
    canvas = new_canvas((48, 64), torch.zeros(3))
    draw_triangles(canvas, camera(0.2), vertices, colours, triangles, labels_of(triangles))
    triangle, barycentric = hits((48, 64), camera(0.2), vertices, triangles)
    assert torch.equal(triangle >= 0, canvas.label == 1)
    torch.testing.assert_close(barycentric.sum(-1), (triangle >= 0).float())
    torch.testing.assert_close(interpolate(triangle, barycentric, triangles, colours), canvas.colour)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("order", [(0.0, 0.3), (0.3, 0.0)])
def test_the_nearer_surface_is_seen(order: tuple[float, float]) -> None:
    canvas = new_canvas(16, GREY)
    for z in order:
        draw_square(canvas, z, RED if z else GREEN, label=int(10 * z) + 1)
    assert torch.equal(canvas.colour[8, 8], RED)
    assert canvas.label[8, 8] == 4
    assert canvas.depth[8, 8] == pytest.approx(2.4, abs=1e-5)


@pytest.mark.usefixtures("backend")
def test_backs_are_culled_unless_two_sided() -> None:
    vertices, triangles = square(0.2)
    back = triangles.flip(1).contiguous()
    for sides, drawn in ((None, 0), (torch.tensor([True, False]), 1), (torch.tensor([True, True]), 2)):
        canvas = new_canvas(16, GREY)
        colours = RED.expand(4, 3).contiguous()
        draw_triangles(canvas, camera(), vertices, colours, back, labels_of(back), sides)
        share = float((canvas.label > 0).float().mean()) / float(label_share(vertices, triangles))
        assert share == pytest.approx(drawn / 2, abs=0.1)


def label_share(vertices: Tensor, triangles: Tensor) -> Tensor:
    canvas = new_canvas(16, GREY)
    draw_triangles(canvas, camera(), vertices, vertices, triangles, labels_of(triangles))
    return (canvas.label > 0).float().mean()


@pytest.mark.usefixtures("backend")
def test_nothing_behind_the_camera_is_drawn() -> None:
    vertices, triangles = sphere(8, 9)
    both = torch.ones(len(triangles), dtype=torch.bool)
    for shift in (5.0, 2.5):
        canvas = new_canvas(32, GREY)
        moved = vertices + torch.tensor([0.0, 0.0, shift])
        draw_triangles(canvas, camera(), moved, vertices, triangles, labels_of(triangles), both)
        assert bool((canvas.depth > 1e-3).all())
        assert bool((canvas.label == 0).all()) or shift < 5
    points = torch.tensor([[[0.0, 0.0, 3.0], [0.0, 0.1, 5.0]]])
    draw_strands(canvas := new_canvas(32, GREY), camera(), points, points, 0.1, 1.0, 0.01, 1)
    assert bool((canvas.label == 0).all())


@pytest.mark.usefixtures("backend")
def test_glass_is_blended_from_far_to_near_where_it_is_not_hidden() -> None:
    canvas = new_canvas(16, torch.zeros(3))
    draw_square(canvas, 0.1, torch.ones(3))
    parts = [square(z) for z in (0.4, 0.2, 0.0)]
    vertices = torch.cat([v for v, _ in parts])
    triangles = torch.cat([t + 4 * k for k, (_, t) in enumerate(parts)]).int()
    rgb = torch.stack([RED, GREEN, GREY]).repeat_interleave(4, 0)
    alpha = torch.tensor([0.25, 0.5, 1.0]).repeat_interleave(4)[:, None]
    labels = torch.tensor([7, 7, 8, 8, 9, 9], dtype=torch.uint8)
    before = canvas.depth.clone()
    draw_translucent(canvas, camera(), vertices, torch.cat([rgb, alpha], 1), triangles, labels)
    expected = ((torch.ones(3) * 0.5 + GREEN * 0.5) * 0.75) + RED * 0.25
    torch.testing.assert_close(canvas.colour[8, 8], expected)
    assert canvas.label[8, 8] == 8
    assert torch.equal(canvas.depth, before)


# Strands


def hair(size: int, radius: float, count: int = 3000, opacity: float = 1.0) -> Canvas:
    """Random short fibres in a square of half a unit, with corners that turn both axes."""
    rng = torch.Generator().manual_seed(5)
    start = torch.rand(count, 1, 3, generator=rng) * torch.tensor([0.5, 0.5, 0.0]) - 0.25
    step = torch.randn(count, 6, 3, generator=rng) * torch.tensor([0.01, 0.01, 0.0])
    points = start + step.cumsum(1) + torch.tensor([0.0, 0.0, 0.2])
    canvas = new_canvas(size, torch.zeros(3))
    return draw_strands(canvas, camera(), points, torch.ones_like(points), radius, opacity, 0.01, 1)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("radius", [1e-4, 4e-4, 1.5e-3])
def test_coverage_does_not_depend_on_the_resolution(radius: float) -> None:
    shares = [float(hair(size, radius).colour.mean()) for size in (64, 128, 256, 512)]
    assert max(shares) < 1.12 * min(shares), shares


@pytest.mark.usefixtures("backend")
def test_coverage_is_the_fibres_area() -> None:
    for angle in (0.1, 0.4, 0.785, 1.2):
        turn = torch.tensor([float(torch.tensor(angle).cos()), float(torch.tensor(angle).sin()), 0.0])
        points = torch.stack([-0.15 * turn, 0.15 * turn])[None] + torch.tensor([0.0, 0.0, 0.2])
        for radius in (2e-4, 0.004):
            canvas = new_canvas(256, torch.zeros(3))
            draw_strands(canvas, camera(), points, torch.ones_like(points), radius, 1.0, 0.01, 1)
            area = 0.3 * 2 * radius * (4.2647 / 2.5) ** 2
            assert float(canvas.colour[..., 0].mean()) == pytest.approx(area, rel=0.03), (angle, radius)


@pytest.mark.usefixtures("backend")
def test_all_fibres_cover_and_the_front_ones_colour() -> None:
    canvas = new_canvas(32, torch.zeros(3))
    points = torch.tensor([[-0.2, 0.0, 0.0], [0.2, 0.0, 0.0]]).expand(3, 2, 3).clone()
    points[:, :, 2] += torch.tensor([0.5, 0.495, 0.3])[:, None]
    points[:, :, 1] += 0.002
    colours = torch.stack([RED, GREEN, torch.ones(3)])[:, None].expand(3, 2, 3).contiguous()
    wide = torch.full((3,), 0.02)
    draw_strands(canvas, camera(), points, colours, wide, 0.5, 0.012, 5)
    torch.testing.assert_close(canvas.colour[15, 16], (RED + GREEN) / 2 * (1 - 0.5**3))
    assert canvas.label[15, 16] == 5
    assert canvas.depth[15, 16] == pytest.approx(2.2, abs=1e-4)


@pytest.mark.usefixtures("backend")
def test_fibres_behind_the_canvas_are_hidden() -> None:
    canvas = new_canvas(32, torch.zeros(3))
    draw_square(canvas, 0.2, RED, half=1.0)
    points = torch.tensor([[[-0.2, 0.0, 0.1], [0.2, 0.0, 0.1]]])
    draw_strands(canvas, camera(), points, torch.ones_like(points), 0.02, 1.0, 0.01, 2)
    torch.testing.assert_close(canvas.colour, RED.expand(32, 32, 3))
    assert bool((canvas.label == 1).all())


# Visibility


@pytest.mark.usefixtures("backend")
def test_a_plate_shades_what_is_behind_it() -> None:
    side = torch.linspace(-0.2, 0.2, 120)
    plate = torch.stack([*torch.meshgrid(side, side, indexing="xy"), torch.full((120, 120), 0.2)], -1)
    points = torch.tensor([[0.0, 0.0, 0.0], [0.35, 0.0, 0.0], [0.0, 0.0, 0.4], [0.0, 0.0, 0.2]])
    directions = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    lit = visibility(points, None, plate.reshape(-1, 3), directions, 0.008)
    assert lit.shape == (4, 4)
    assert lit[0].tolist() == pytest.approx([0.0, 1.0, 1.0, 1.0], abs=1e-6)
    assert lit[1].tolist() == pytest.approx([1.0, 1.0, 0.0, 1.0], abs=1e-6)
    assert lit[2, :2].tolist() == pytest.approx([1.0, 1.0], abs=1e-6)


@pytest.mark.usefixtures("backend")
def test_shade_is_soft_and_normals_push_points_out() -> None:
    plate = torch.rand(40000, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    plate[:, 2] = 0.0
    depths = torch.tensor([0.0, -0.013, -0.018, -0.03])
    points = torch.stack([torch.zeros(4), torch.zeros(4), depths], 1)
    up = torch.tensor([[0.0, 0.0, 1.0]])
    lit = visibility(points, None, plate, up, 0.008)[0]
    assert lit.tolist() == pytest.approx([1.0, 0.75, 0.5, 0.0], abs=1e-3)
    pushed = visibility(points, up.expand(4, 3).contiguous(), plate, up, 0.008)[0]
    assert pushed[2] == pytest.approx(0.8, abs=1e-3)


# Samples to pixels, and refusals


def test_pixels_are_means_of_samples() -> None:
    canvas = new_canvas(4, torch.zeros(3))
    canvas.colour[0, 0], canvas.depth[1, 1], canvas.label[0, :2] = 1.0, 2.0, 3
    colour, depth = resolve(canvas)
    assert torch.equal(colour[0, 0], torch.full((3,), 0.25))
    assert depth[0].tolist() == [2.0, float("inf")]
    assert label_alpha(canvas, {3, 200}).tolist() == [[0.5, 0.0], [0.0, 0.0]]
    with pytest.raises(ValueError, match="do not divide"):
        resolve(new_canvas(5, torch.zeros(3)))


def test_refuses_what_does_not_fit() -> None:
    vertices, triangles = square(0.2)
    labels, canvas = labels_of(triangles), new_canvas(8, GREY)

    def refuse(match: str, colours: Tensor = vertices, **changed: Tensor) -> None:
        given = {"vertices": vertices, "triangles": triangles, "labels": labels} | changed
        with pytest.raises(ValueError, match=match):
            draw_triangles(canvas, camera(), colours=colours, **given)

    refuse("indices 0 to 4", triangles=triangles + (triangles == 3))
    refuse("indices -1", triangles=triangles - 1)
    refuse("triangles is torch.int64", triangles=triangles.long())
    refuse("vertices is torch.float64", vertices=vertices.double())
    refuse(r"labels is \[1\]", labels=labels[:1])
    refuse(r"colours is \[4, 4\]", colours=torch.ones(4, 4))
    refuse("two_sided is torch.uint8", two_sided=labels)
    for size in (0, 8193, (4, 9000)):
        with pytest.raises(ValueError, match="1 to 8192"):
            new_canvas(size, GREY)
    points = torch.zeros(1, 2, 3)
    with pytest.raises(ValueError, match="radius"):
        draw_strands(canvas, camera(), points, points, -1.0, 0.5, 0.1, 1)
    with pytest.raises(ValueError, match="opacity"):
        draw_strands(canvas, camera(), points, points, 1.0, 1.5, 0.1, 1)
    with pytest.raises(ValueError, match="cam2world"):
        Camera(torch.eye(4)[None], torch.eye(3))


@pytest.mark.usefixtures("backend")
def test_draws_nothing_from_nothing() -> None:
    canvas = new_canvas((2, 3), GREY)
    none = torch.zeros(0, 3)
    triangles, labels = torch.zeros(0, 3, dtype=torch.int32), torch.zeros(0, dtype=torch.uint8)
    draw_triangles(canvas, camera(), none, none, triangles, labels)
    draw_translucent(canvas, camera(), none, torch.zeros(0, 4), triangles, labels)
    draw_strands(canvas, camera(), torch.zeros(0, 5, 3), torch.zeros(0, 5, 3), 1.0, 1.0, 0.0, 1)
    assert bool((hits(4, camera(), none, triangles)[0] == -1).all())
    assert bool((canvas.label == 0).all())
    assert torch.equal(visibility(torch.zeros(1, 3), None, none, torch.eye(3), 0.0), torch.ones(3, 1))
    assert visibility(none, None, none, torch.eye(3), 0.0).shape == (3, 0)
