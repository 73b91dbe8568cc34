"""Time of drawing meshes and strands, and of visibility, on one thread: compiled code and the reference.

    python -m benchmarks.drawing [--device cpu|cuda] [--reference]

On the CPU the thread's CPU time, on CUDA the time until the work is done; the least of several runs, as other
work on the machine disturbs it least.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from inverters.rendering import backends
from inverters.rendering.cameras import default_intrinsics, look_at
from inverters.rendering.drawing import Camera, draw_strands, draw_triangles, new_canvas, visibility

SIZE = 512


def ball(rings: int, radius: float) -> tuple[Tensor, Tensor]:
    """A mesh of 2 rings^2 triangles about the point that cameras look at."""
    polar, around = torch.meshgrid(torch.arange(rings + 1), torch.arange(rings + 1), indexing="ij")
    polar, around = polar * math.pi / rings, around * 2 * math.pi / rings
    xyz = (polar.sin() * around.sin(), polar.cos(), polar.sin() * around.cos())
    vertices = torch.stack(xyz, -1).reshape(-1, 3) * radius + torch.tensor([0.0, 0.0, 0.2])
    a = (torch.arange(rings)[:, None] * (rings + 1) + torch.arange(rings)).reshape(-1, 1)
    below = rings + 1
    corners = torch.tensor([[0, below, 1], [1, below, below + 1]])
    return vertices, torch.cat([a + c for c in corners]).int()


def hair(strands: int, points: int, length: float) -> Tensor:
    """Strands [S,K,3] that fall from the crown of a head."""
    rng = torch.Generator().manual_seed(0)
    root = torch.randn(strands, 3, generator=rng)
    root[:, 1] = root[:, 1].abs() - 0.2
    root = normalize(root, dim=1)
    course = [root * 0.19 + torch.tensor([0.0, 0.05, 0.05])]
    step = root + 0.2 * torch.randn(strands, 3, generator=rng)
    for _ in range(points - 1):
        step = step + torch.tensor([0.0, -0.25, 0.0]) + 0.05 * torch.randn(strands, 3, generator=rng)
        step = normalize(step, dim=1)
        course.append(course[-1] + step * length / (points - 1))
    return torch.stack(course, 1)


def cases(device: str) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    camera = Camera(look_at(0.3, 0.1)[0], default_intrinsics()[0])
    vertices, triangles = (t.to(device) for t in ball(308, 0.25))
    labels = torch.ones(len(triangles), dtype=torch.uint8, device=device)
    background = torch.tensor([0.4, 0.5, 0.6], device=device)
    rng = torch.Generator().manual_seed(1)
    directions = normalize(torch.randn(40, 3, generator=rng), dim=1).to(device)
    occluders = vertices[torch.randint(len(vertices), (90000,), generator=rng).to(device)]
    queries = vertices[:60000]
    normals = normalize(queries - torch.tensor([0.0, 0.0, 0.2], device=device), dim=1)

    def mesh() -> object:
        canvas = new_canvas(SIZE, background)
        return draw_triangles(canvas, camera, vertices, vertices, triangles, labels)

    def strands(points: Tensor) -> Callable[[], object]:
        colours = torch.rand(points.shape[0], 1, 3, generator=rng).expand(points.shape).contiguous()
        points, colours = points.to(device), colours.to(device)
        return lambda: draw_strands(
            new_canvas(SIZE, background), camera, points, colours, 4e-4, 0.8, 0.012, 1
        )

    return {
        f"{len(triangles)} triangles, {len(vertices)} vertices": mesh,
        "20000 strands x 20 points of length 0.13 (44 % of the picture)": strands(hair(20000, 20, 0.13)),
        "45000 strands x 34 points of length 0.40 (89 % of the picture)": strands(hair(45000, 34, 0.4)),
        "visibility: 40 directions, 90000 occluders, 60000 queries": lambda: visibility(
            queries, normals, occluders, directions, 0.008
        ),
    }


def least_ms(call: Callable[[], object], device: str, runs: int) -> float:
    """The least time of a call in ms."""
    clock = time.perf_counter if device == "cuda" else time.thread_time
    found = []
    for _ in range(runs + 1):
        start = clock()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        found.append(clock() - start)
    return 1000 * min(found[1:])


def main() -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--reference", action="store_true", help="time plain torch as well (slow)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name, call in cases(given.device).items():
        times = [f"{least_ms(call, given.device, 9):8.1f} ms"]
        if given.reference:
            with backends.using("reference"):
                times.append(f"in plain torch {least_ms(call, given.device, 1):8.1f} ms")
        print(f"{name}: {', '.join(times)}")


if __name__ == "__main__":
    main()
