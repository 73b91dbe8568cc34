"""How a decoded frame is turned upright: its display matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame


def orientation(frame: VideoFrame) -> tuple[tuple[bool, bool, bool], int, bool]:
    """Orientation of a frame by its display matrix, its angle in degrees, and whether that is a right angle.

    The matrix (ISO/IEC 14496-12, 8.3.2) maps (x, y) to (a x + c y, b x + d y); its rows are
    a b u / c d v / x y w.
    """
    matrix = _display_matrix(frame)
    if matrix is None:
        return (False, False, False), 0, True
    a, b, c, d = matrix
    if max(abs(a), abs(b), abs(c), abs(d)) == 0:
        return (False, False, False), 0, True
    rotation = int(frame.rotation) % 360
    if abs(a) >= abs(b):
        return (False, a < 0, d < 0), rotation, abs(b) * 100 < abs(a)
    return (True, c < 0, b < 0), rotation, abs(a) * 100 < abs(b)


def _display_matrix(frame: VideoFrame) -> tuple[int, int, int, int] | None:
    """(a, b, c, d) of a frame's display matrix; None without one."""
    try:
        sides: Any = frame.side_data  # typed as a mapping, but iterates over its values
        found = [bytes(side) for side in sides if side.type == SideDataType.DISPLAYMATRIX]
    except ValueError:  # PyAV does not know some kinds of side data, EXIF among them
        angle = np.deg2rad(frame.rotation)
        cosine, sine = (round(65536 * v) for v in (np.cos(angle), np.sin(angle)))
        return (cosine, -sine, sine, cosine) if frame.rotation else None
    if not found:
        return None
    a, b, _, c, d = (int(v) for v in np.frombuffer(found[0], np.int32)[:5])
    return a, b, c, d
