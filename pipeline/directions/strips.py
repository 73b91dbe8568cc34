"""Render faces of codes, and sheets that show what directions do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.clip import U8
from pipeline.stages.pixels import to_bytes

if TYPE_CHECKING:
    from inverters.editing.directions import Direction

_MARGIN, _LINE = 90, 16
"""Width of the column of names and height of the line of strengths, in pixels."""


def draw_codes(generator: Any, ws: Any, on_face: Callable[[int], None] | None = None) -> U8:
    """Render faces uint8 [n,S,S,3] of codes [n,w_dim] or [n,num_ws,w_dim] by the frontal camera.

    on_face is called with the number of faces done.
    """
    import torch

    from inverters.rendering.cameras import intrinsics, look_at

    rule = generator.card.camera_rule
    camera, lens = look_at(0.0, 0.0, rule.radius, rule.pivot), intrinsics(rule.focal)
    device = generator.backbone.mapping.w_avg.device
    codes = ws if ws.ndim == 3 else ws[:, None].expand(-1, generator.num_ws, -1)
    images = []
    with torch.no_grad():
        for k in range(len(codes)):
            seen = generator.synthesis(codes[k : k + 1].to(device), camera.to(device), lens.to(device))
            images.append(to_bytes(seen.image))
            if on_face is not None:
                on_face(k + 1)
    return np.concatenate(images)


def draw_strips(
    generator: Any,
    directions: Mapping[str, Direction],
    faces: Any,
    strengths: Sequence[float],
    size: int,
    on_row: Callable[[int], None] | None = None,
) -> U8:
    """Draw a sheet uint8 [H,W,3]: a row per direction and face (z [n,z_dim]), a column per strength.

    size: side of a face in pixels. on_row is called with the number of rows done.
    """
    from PIL import Image, ImageDraw

    rows = len(directions) * len(faces)
    sheet = Image.new("RGB", (_MARGIN + size * len(strengths), _LINE + size * rows), "white")
    pen = ImageDraw.Draw(sheet)
    for column, strength in enumerate(strengths):
        pen.text((_MARGIN + size * (column + 0.5), 2), f"{strength:+g}", fill="black", anchor="ma")
    row = 0
    for name, direction in directions.items():
        top = _LINE + size * row
        pen.multiline_text((4, top + 4), _broken(name), fill="black")
        for z in faces:
            for column, moved in enumerate(_moved(generator, direction, z, strengths)):
                face = Image.fromarray(draw_codes(generator, moved[None])[0]).resize((size, size))
                sheet.paste(face, (_MARGIN + size * column, _LINE + size * row))
            row += 1
            if on_row is not None:
                on_row(row)
    return np.asarray(sheet)


def _moved(generator: Any, direction: Direction, z: Any, strengths: Sequence[float]) -> Any:
    """Codes [n,num_ws,w_dim] of a face z [z_dim], moved along a direction by each strength.

    Codes of z move only where the direction is in z.
    """
    from inverters.base import Inversion
    from inverters.editing.edit import edit_inversion
    from inverters.editing.sampling import mapped
    from inverters.fitting.spaces import retracted
    from pipeline.request.edits import Edit

    ws = mapped(generator, z[None]).expand(1, generator.num_ws, -1)
    latent = {"z": retracted(z).expand(1, generator.num_ws, -1)} if direction.codes == "z" else {}
    face = Inversion("", "", generator.card.fingerprint, np.zeros(1, np.int64), ws, latent)
    edits = [[Edit("it", strength)] for strength in strengths]
    return [edit_inversion(generator, face, [0.0], each, {"it": direction})[0] for each in edits]


def _broken(name: str, width: int = 13) -> str:
    """Break a name into lines that fit the margin."""
    return "\n".join(name[k : k + width] for k in range(0, len(name), width))
