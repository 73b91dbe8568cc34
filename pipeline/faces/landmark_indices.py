"""Index tables of two landmark sets: MediaPipe's 478-point mesh and the 68 points of iBUG 300-W."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.clip import I64

Floats = npt.NDArray[np.floating[Any]]

MESH_POINTS = 478
IBUG_POINTS = 68

MESH_TO_IBUG: I64 = np.concatenate(
    [
        # jaw, from the image's left ear to its right one
        [162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389],
        # brows
        [71, 63, 105, 66, 107, 336, 296, 334, 293, 301],
        # nose: bridge, then wings
        [168, 197, 5, 4, 75, 97, 2, 326, 305],
        # eyes
        [33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380],
        # lips: outer, then inner
        [61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87],
    ],
    dtype=np.int64,
)
"""Mesh vertex for each of the 68 points (the correspondence in common use)."""

MESH_STABLE: I64 = np.concatenate(
    [
        # the nose: bridge, tip, base, sides and wings
        [168, 6, 197, 195, 5, 4, 1, 2, 94, 122, 351, 196, 419, 3, 248, 236, 456, 198, 420, 131, 360],
        [49, 279, 129, 358, 98, 327, 97, 326, 217, 437, 126, 355, 115, 344, 188, 412, 114, 343],
        # eye corners and the sockets around them
        [33, 263, 133, 362, 130, 359, 243, 463, 226, 446, 35, 265, 31, 261, 228, 448, 229, 449],
        [230, 450, 231, 451, 232, 452, 233, 453, 244, 464, 111, 340, 143, 372, 116, 345, 117, 346],
        [118, 347, 119, 348, 120, 349, 100, 329, 47, 277, 101, 330, 50, 280, 123, 352, 36, 266],
        # between the brows, the forehead and the temples
        [9, 8, 107, 336, 55, 285, 151, 108, 337, 69, 299, 104, 333, 68, 298, 71, 301, 139, 368],
        [10, 109, 338, 67, 297, 103, 332, 54, 284, 21, 251, 127, 356, 34, 264, 162, 389],
    ],
    dtype=np.int64,
)
"""Mesh vertices that speech, smiles and blinks hardly move."""

MESH_MOVING: I64 = np.concatenate(
    [
        # lip corners and base, cheeks and chin: they constrain scale and pitch, but expressions move them
        [61, 291, 0, 17, 37, 267, 84, 314, 164, 167, 393, 165, 391, 206, 426, 205, 425, 187, 411],
        [152, 148, 377, 175, 199, 200, 18, 83, 313, 136, 365, 172, 397, 58, 288, 93, 323, 234, 454, 132, 361],
    ],
    dtype=np.int64,
)
"""Mesh vertices that expressions move; used with a lower weight."""

IBUG_STABLE: I64 = np.arange(17, 48, dtype=np.int64)
"""Brows, nose and eyes of the 68 points."""

IBUG_MOVING: I64 = np.array([48, 54, 51, 57, 33, 7, 8, 9], dtype=np.int64)
"""Lips and chin of the 68 points. The other jaw points are left out: they slide along the outline as the
head turns.
"""


def mesh_to_ibug(dense: Floats) -> Floats:
    """Select the 68 points of a mesh: [...,478,D] -> [...,68,D]."""
    return dense[..., MESH_TO_IBUG, :]


def mirror_pairs(points: Floats) -> I64:
    """Index [N] of the point nearest to the mirror image in x of each point [N,3]."""
    mirrored = points * np.array([-1.0, 1.0, 1.0])
    distance = np.linalg.norm(mirrored[:, None] - points[None], axis=-1)
    return np.asarray(distance.argmin(axis=1), dtype=np.int64)
