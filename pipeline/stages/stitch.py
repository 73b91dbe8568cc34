"""Stage `edit`, its last part: edited crops whose border meets the source."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.clip import U8
from pipeline.stages.composite import Rows
from pipeline.stages.edit import to_bytes

if TYPE_CHECKING:
    from inverters.base import InversionProblem
    from inverters.editing.stitching import StitchSettings

VERSION = 2
BORDER = 0.1
"""Width in crop widths of the border that is to meet the source (STIT: 50 of 512 pixels)."""


def stitch(
    renderer: Any,
    problem: InversionProblem,
    ws: Any,
    edited: Rows,
    plain: Rows,
    inside: Rows,
    outside: Rows,
    preset: StitchSettings,
    on_rows: Callable[[int, int], None] | None = None,
) -> Iterator[U8]:
    """Yield every row, uint8 [S,S,3], stitched where an edit changes it.

    ws: codes [K,num_ws,w_dim] with the edits. edited, plain: by row, the crops with the edits and without.
    inside, outside: by row, masks uint8 [S,S] of what the edit is to show, and of that with its border.
    """
    from inverters.editing.stitching import Stitcher

    stitcher = Stitcher(renderer, preset)
    count = len(problem.frames)
    for row in range(count):
        picture = np.asarray(edited[row])
        content = _within_crop(np.asarray(inside[row]) > 127)
        border = (np.asarray(outside[row]) > 0) & ~content
        if border.any() and not np.array_equal(picture, np.asarray(plain[row])):
            one = np.array([row])
            image = stitcher.stitch(
                row,
                problem.cam2world[one],
                problem.intrinsics[one],
                ws[one],
                _image(picture),
                _image(np.asarray(problem.crops[one])[0]),
                _mask(content),
                _mask(border),
            )
            picture = to_bytes(image)[0]
        yield picture
        if on_rows is not None:
            on_rows(row + 1, count)


def _within_crop(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The mask [S,S] without what is within BORDER of the crop's own edge, which is a border too."""
    width = max(1, round(BORDER * len(mask)))
    kept = np.zeros_like(mask)
    kept[width:-width, width:-width] = mask[width:-width, width:-width]
    return kept


def _image(pixels: U8) -> Any:
    """uint8 [S,S,3] to a tensor [1,3,S,S] in [-1,1]."""
    import torch

    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float() / 127.5 - 1


def _mask(values: npt.NDArray[np.bool_]) -> Any:
    """[S,S] to a tensor [1,1,S,S] of 0 and 1."""
    import torch

    return torch.from_numpy(values)[None, None].float()
