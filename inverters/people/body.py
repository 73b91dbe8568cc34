"""The shape of people: vertices of the morphable mesh from their values, in EG3D's units."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from inverters.people.body_file import MASKS, PARTS, PHENOTYPE_AXES, BodyFile, Rows, load_body
from inverters.people.expressions import Actions
from inverters.people.local_changes import LOCAL_CHANGES
from inverters.people.params import PARAMETERS, Values, index
from inverters.people.subdivision import split_long, subdivide

CENTRE = (0.0, 0.035, 0.150)
"""Where the middle between the eyes lies, in world units."""
SCALE = 2.32
"""World units a metre of a head with the base mesh's distances from eye to eye and to the mouth."""
_TEETH_SHIFT = (0.0, -0.013, 0.006)
"""Upper teeth sit too high in the mesh; world units."""
_SMOOTHING = 0.5
_LONGEST = 0.0042
"""Edges of the face longer than this are halved once more; about 1.8 pixels of a picture of 256 x 256."""


@dataclass(frozen=True)
class Level:
    """Mesh after a number of subdivisions: V vertices, T triangles, and what belongs to the vertices."""

    triangles: Tensor
    """[T,3] int32, counter-clockwise from outside."""
    part: Tensor
    """Part of each vertex [V], index into PARTS."""
    triangle_part: Tensor
    """Part of each triangle [T]."""
    canonical: Tensor
    """[V,3]: the base mesh in world units, the same for everybody; people are painted by it."""
    masks: Tensor
    """[V,len(MASKS)] in [0,1]."""
    faces_of: Tensor
    """Sparse [V,T]: ones where a triangle has a vertex."""

    def mask(self, name: str) -> Tensor:
        """One of MASKS at the vertices, [V]."""
        return self.masks[:, MASKS.index(name)]

    def is_part(self, *names: str) -> Tensor:
        """Whether each vertex belongs to one of the parts, bool [V]."""
        return torch.isin(self.part, torch.tensor([PARTS.index(n) for n in names], device=self.part.device))

    def normals(self, vertices: Tensor) -> Tensor:
        """Unit normals [V,3], weighted by the triangles' areas."""
        a, b, c = (vertices[self.triangles[:, k]] for k in range(3))
        return F.normalize(self.faces_of @ torch.linalg.cross(b - a, c - a), dim=-1, eps=1e-12)


@dataclass(frozen=True)
class Shape:
    """A person's mesh in world units, at the expression and at rest."""

    coarse: Tensor
    """[n0,3]: the control mesh with the lashes."""
    vertices: Tensor
    """[V1,3]: once subdivided; light is computed here."""
    normals: Tensor
    fine: Tensor
    """[V2,3]: twice subdivided, the face finer still; drawn and painted."""
    fine_normals: Tensor
    neutral: Tensor
    """[V1,3]: once subdivided, without face actions; hair grows here."""
    neutral_normals: Tensor
    scale: float
    """World units a metre."""


class Body:
    """The morphable mesh on one device."""

    def __init__(self, device: torch.device) -> None:
        file = load_body()
        self.device = device
        self.base = torch.from_numpy(file.base)
        solid = torch.from_numpy(file.parts != PARTS.index("lashes"))
        quads, parts = torch.from_numpy(file.quads), torch.from_numpy(file.parts).long()
        self.lash_quads = quads[~solid].to(device)
        self.part0 = torch.zeros(len(self.base), dtype=torch.long).scatter(
            0, quads.flatten(), parts.repeat_interleave(4)
        )
        self._lips = torch.from_numpy(file.masks[:, MASKS.index("lips")] > 0.6)
        self._spans = self._measure(self.base)
        once = subdivide(quads[solid], len(self.base))
        twice = subdivide(once.quads, once.matrix.shape[0])
        canonical = self._placed(self.base, self._spans)[0]
        masks = torch.from_numpy(file.masks)
        part1 = parts[solid][once.parent]
        self.quads = once.quads.to(device)
        triangles, part = _triangles(once.quads), part1.repeat(2)
        self.level1 = _level(once.matrix, triangles, part, canonical, masks, device)
        triangles, part = _triangles(twice.quads), part1[twice.parent].repeat(2)
        dense = torch.sparse.mm(twice.matrix, once.matrix).to_sparse_csr()
        split = split_long(triangles, dense @ canonical, _is_face(dense, canonical, masks), _LONGEST, 2)
        fine = torch.sparse.mm(split.matrix, twice.matrix).coalesce()
        self.level2 = _level(
            torch.sparse.mm(fine, once.matrix), split.triangles, part[split.parent], canonical, masks, device
        )
        self.to_fine = fine.to_sparse_csr().to(device)
        """Sparse [V2,V1]: values at the coarser vertices to the finer ones."""
        self._to1 = once.matrix.to_sparse_csr().to(device)
        self.canonical0 = canonical.to(device)
        self.smoothing = _smoothing(once.quads, once.matrix.shape[0]).to(device)
        """Sparse [V1,V1]: half a vertex, half the mean of its neighbours."""
        self.eyes = {
            side: canonical[self.part0 == PARTS.index(f"{side}_eye")].mean(0).to(device)
            for side in ("left", "right")
        }
        """Centres of the eyes of the base mesh, in world units; left and right are the person's."""
        self._read_shapes(file)

    def _read_shapes(self, file: BodyFile) -> None:
        self.action_names = file.actions.names
        self._mean = torch.from_numpy(file.base + file.mean)
        self._principal = torch.from_numpy(file.principal).flatten(1)
        self._weights = torch.from_numpy(file.weights)
        self._actions = _pieces(file.actions)
        self._changes = _pieces(file.changes)
        self._change_index = {name: k for k, name in enumerate(file.changes.names)}
        upper = self.level1.is_part("upper_teeth")
        self._teeth1 = upper[:, None] * torch.tensor(_TEETH_SHIFT, device=self.device)
        upper2 = self.level2.is_part("upper_teeth")
        self._teeth2 = upper2[:, None] * torch.tensor(_TEETH_SHIFT, device=self.device)

    def shape(self, values: Values, actions: Actions, row: int = 0) -> Shape:
        """Return the mesh of person `row` with these values [N,1] and face actions [N].

        The neutral face is centred and scaled, so that expressions do not move the head.
        """
        rest = self._mean.clone()
        rest += (self.phenotype(values, row) @ self._principal).reshape(-1, 3)
        for change in LOCAL_CHANGES:
            strength = change.middle + change.reach * float(values[change.name][row, 0])
            self._add_change(rest, change.target, strength)
        moved = rest.clone()
        for name, strengths in actions.items():
            if (strength := float(strengths[row])) > 1e-4:
                _add(moved, self._actions[self.action_names.index(name)], strength)
        spans = self._measure(rest)
        neutral, scale = self._placed(rest, spans)
        coarse, _ = self._placed(moved, spans)
        coarse, neutral = coarse.to(self.device), neutral.to(self.device)
        vertices = self._to1 @ coarse + self._teeth1
        fine = self.to_fine @ (self._to1 @ coarse) + self._teeth2
        neutral1 = self._to1 @ neutral + self._teeth1
        return Shape(
            coarse=coarse,
            vertices=vertices,
            normals=self.level1.normals(vertices),
            fine=fine,
            fine_normals=self.level2.normals(fine),
            neutral=neutral1,
            neutral_normals=self.level1.normals(neutral1),
            scale=scale,
        )

    def phenotype(self, values: Values, row: int) -> Tensor:
        """Return the weights [S] of the principal shapes."""
        years = float(values["age"][row, 0])
        age = 0.6 + (2 / 3 - 0.6) * min(1.0, (years - 18) / 8)
        if years > 26:
            age = 2 / 3 + (1 - 2 / 3) * ((years - 26) / 54) ** 1.1
        corners = _hat(gender_of(values, row), PHENOTYPE_AXES["gender"])
        for name, value in (("age", age), ("weight", 0.1 + 0.85 * float(values["weight"][row, 0]))):
            corners = torch.outer(corners, _hat(value, PHENOTYPE_AXES[name])).flatten()
        corners = torch.outer(corners, ancestry_of(values, row)).flatten()
        return corners @ self._weights

    def _add_change(self, points: Tensor, target: str, strength: float) -> None:
        names = (target, "r-" + target[2:]) if target.startswith("l-") else (target,)
        for name in names:
            place = 2 * self._change_index[name] + (0 if strength > 0 else 1)
            _add(points, self._changes[place], abs(strength))

    def _measure(self, points: Tensor) -> tuple[Tensor, float, float]:
        """Middle between the eyes [3], distance of the eyes, distance of eyes and mouth, in metres."""
        left, right = (points[self.part0 == PARTS.index(f"{s}_eye")].mean(0) for s in ("left", "right"))
        middle = (left + right) / 2
        mouth = points[self._lips].mean(0)
        return middle, float((left - right).norm()), float((middle - mouth).norm())

    def _placed(self, points: Tensor, spans: tuple[Tensor, float, float]) -> tuple[Tensor, float]:
        """Points in world units by a face's spans, and the world units a metre."""
        middle, eyes, mouth = spans
        scale = SCALE * 0.5 * (self._spans[1] / eyes + self._spans[2] / mouth)
        return (points - middle) * scale + torch.tensor(CENTRE), scale


@cache
def body(device: str = "cpu") -> Body:
    """Return the morphable mesh on a device; made once in a process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse", UserWarning)  # torch's notes on its sparse tensors
        return Body(torch.device(device))


def gender_of(values: Values, row: int = 0) -> float:
    """Return 0 for a man to 1 for a woman; few people lie between."""
    gender = float(values["gender"][row, 0])
    return 0.06 + 0.88 / (1 + math.exp(-16 * (gender - 0.5)))


def ancestry_of(values: Values, row: int = 0) -> Tensor:
    """Return the shares [3] of African, Asian and European features, which sum to 1."""
    logits = torch.tensor([float(values[n][row, 0]) for n in ("african", "asian", "caucasian")])
    return torch.softmax(2.6 * logits, 0)


def _hat(value: float, anchors: tuple[float, ...]) -> Tensor:
    """Weights [A] of linear interpolation between anchors."""
    points = torch.tensor(anchors)
    x = min(max(value, anchors[0]), anchors[-1])
    k = min(int(torch.searchsorted(points, torch.tensor(x), right=True)) - 1, len(anchors) - 2)
    t = (x - anchors[k]) / (anchors[k + 1] - anchors[k])
    weights = torch.zeros(len(anchors))
    weights[k], weights[k + 1] = 1 - t, t
    return weights


def _pieces(rows: Rows) -> list[tuple[Tensor, Tensor]]:
    """Vertices [R] and offsets [R,3] of each shape."""
    vertex, offset = torch.from_numpy(rows.vertex), torch.from_numpy(rows.offset)
    return [
        (vertex[a:b], offset[a:b])
        for a, b in zip(rows.start[:-1].tolist(), rows.start[1:].tolist(), strict=True)
    ]


def _add(points: Tensor, rows: tuple[Tensor, Tensor], strength: float) -> None:
    points.index_add_(0, rows[0], rows[1], alpha=strength)


def _triangles(quads: Tensor) -> Tensor:
    return torch.cat([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def _is_face(matrix: Tensor, canonical: Tensor, masks: Tensor) -> Tensor:
    """Whether the refined vertices lie on the skin of the face or the front of the neck, bool [n]."""
    x, y, z = (matrix @ canonical).unbind(1)
    mouth = (matrix @ masks)[:, MASKS.index("inside_mouth")]
    return (z > 0.025) & (y > -0.33) & (y < 0.27) & (x.abs() < 0.165) & (mouth < 0.5)


def _level(
    matrix: Tensor,
    triangles: Tensor,
    triangle_part: Tensor,
    canonical: Tensor,
    masks: Tensor,
    device: torch.device,
) -> Level:
    count = matrix.shape[0]
    part = torch.zeros(count, dtype=torch.long)
    part = part.scatter(0, triangles.flatten(), triangle_part.repeat_interleave(3))
    dense = matrix.to_sparse_csr()
    rows = torch.arange(len(triangles)).repeat_interleave(3)
    faces_of = torch.sparse_coo_tensor(
        torch.stack([triangles.flatten(), rows]), torch.ones(len(rows)), (count, len(triangles))
    )
    return Level(
        triangles=triangles.int().to(device),
        part=part.to(device),
        triangle_part=triangle_part.to(device),
        canonical=(dense @ canonical).to(device),
        masks=(dense @ masks).clamp(0, 1).to(device),
        faces_of=faces_of.coalesce().to_sparse_csr().to(device),
    )


def _smoothing(quads: Tensor, count: int) -> Tensor:
    ends = torch.stack([quads, quads.roll(-1, 1)], -1).reshape(-1, 2)
    ends = torch.unique(torch.cat([ends, ends.flip(1)]), dim=0)
    valence = torch.bincount(ends[:, 0], minlength=count).float().clamp_min(1)
    every = torch.arange(count)
    indices = torch.cat([ends.T, torch.stack([every, every])], 1)
    weights = torch.cat([(1 - _SMOOTHING) / valence[ends[:, 0]], torch.full((count,), _SMOOTHING)])
    return torch.sparse_coo_tensor(indices, weights, (count, count)).coalesce().to_sparse_csr()


def mean_values(**changes: float) -> dict[str, Tensor]:
    """Return the values [1,1] of the middle of every range, with these replaced; for tools and tests."""
    for name in changes:
        index(name)
    return {p.name: torch.tensor([[changes.get(p.name, (p.low + p.high) / 2)]]) for p in PARAMETERS}
