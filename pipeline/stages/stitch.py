"""Stage `stitch`: edited crops whose border meets the source (`--stitch`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.clip import I64, U8
from pipeline.request.settings import Settings
from pipeline.stages import inset, track
from pipeline.stages.edit import (
    codes_of,
    images_in,
    images_stage,
    of_rows,
    repeated_pictures,
    settings_of,
    variant_of,
)
from pipeline.stages.face_masks import BORDER, MASK_SETTINGS, masks_of, needs_of_masks, with_border
from pipeline.stages.facts import Facts
from pipeline.stages.pixels import Rows, to_bytes
from pipeline.stages.problem import NEEDS, row_times
from pipeline.stages.run import StageRun
from pipeline.stages.smooth import seen_problem, shown_inversion, shown_name
from pipeline.stages.stage import Stage
from storage import StoredArray

if TYPE_CHECKING:
    from inverters.base import InversionProblem
    from inverters.editing.stitching import StitchSettings


def stitch(
    renderer: Any,
    problem: InversionProblem,
    ws: Any,
    edited: Rows,
    plain: Rows,
    inside: Rows,
    outside: Rows,
    preset: StitchSettings,
    rows: I64,
    on_rows: Callable[[int, int], None] | None = None,
) -> Iterator[U8]:
    """Yield every picture, uint8 [S,S,3], stitched where an edit changes it.

    problem: by picture. ws: codes [P,num_ws,w_dim] with the edits. edited, plain: by picture, the crops with
    the edits and without. inside, outside: by picture, masks uint8 [S,S] of what the edit is to show, and of
    that with its border. rows [P]: the row of the renderer's inversion that each picture shows. A picture
    that repeats the one before is that one again.
    """
    from inverters.editing.stitching import Stitcher

    stitcher = Stitcher(renderer, preset)
    count = len(problem.frames)
    again = repeated_pictures(rows, ws, problem.cam2world)
    picture: U8 = np.zeros(0, np.uint8)
    for number in range(count):
        if again[number]:
            yield picture
            continue
        picture = np.asarray(edited[number])
        content = _within_crop(np.asarray(inside[number]) > 127)
        border = (np.asarray(outside[number]) > 0) & ~content
        if border.any() and not np.array_equal(picture, np.asarray(plain[number])):
            one = np.array([number])
            image = stitcher.stitch(
                int(rows[number]),
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
            on_rows(number + 1, count)


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


def compute(run: StageRun) -> None:
    """Write `images` uint8 [P,S,S,3], the stitched crops of the edited or of the turned variant."""
    from inverters.editing.stitching import stitching_of

    way = run.settings.composite.stitch
    if way is None:
        raise ValueError("the request has nothing to stitch")
    preset = stitching_of(way, run.settings.invert.preset)
    turned = run.part == inset.TURNED
    variant, shown = variant_of("view" if turned else run.part, run.settings.edit), shown_inversion(run)
    inside: Rows
    outside: Rows
    if turned:
        problem, plain, masks = inset.turned_problem(run), inset.unturned_images(run), inset.own_masks(run)
        inside, outside = inset.turned_masks(run, masks), inset.turned_masks(run, with_border(masks))
        edited = images_in(run, "edit/view")
    else:
        problem, masks = seen_problem(run), masks_of(run, run.part)
        plain = images_in(run, run.needed("smooth") or "finetune")
        inside, outside = masks, with_border(masks)
        edited = images_in(run, f"edit/{run.part}")
    directions = run.models.directions if variant.edits else {}
    ease = run.settings.edit.ease if variant.edits else 0.0
    rows = run.of(track.STAGE).rows
    ws = codes_of(run.models.generator, of_rows(shown, rows), variant, row_times(run), directions, ease)
    stored = run.writer.array("images", edited.shape, np.uint8)
    renderer = run.models.renderer(shown)
    for picture in stitch(renderer, problem, ws, edited, plain, inside, outside, preset, rows, run.count):
        stored.write(picture[None])


def facts(facts: Facts) -> dict[str, Any]:
    """The preset's numbers, and the weights of its losses."""
    from inverters.editing.stitching import stitching_of

    way, found = facts.settings.composite.stitch, facts.settings.invert.preset
    preset = stitching_of(way or "weights", found)
    return {"preset": asdict(preset)} | (facts.perceptual_weights if preset.lambda_perceptual else {})


def stages(settings: Settings) -> list[Stage[StoredArray]]:
    """Stages of a request with `--stitch`: of the edited crops, and of the turned ones with `--inset`.

    Not without the occluder: the border would have to meet the occluder.
    """
    found: list[Stage[StoredArray]] = []
    if settings.composite.stitch is None:
        return found
    if settings.edit.edits:
        found.append(_stage("edited", settings, needs_of_masks(settings, "edited")))
    if settings.edit.inset and not settings.edit.remove_occluder:
        found.append(_stage(inset.TURNED, settings, inset.needs_of_turned_masks(settings)))
    return found


def _stage(name: str, settings: Settings, needs: tuple[str, ...]) -> Stage[StoredArray]:
    variant = "view" if name == inset.TURNED else name
    every = dict.fromkeys((*NEEDS, shown_name(settings), images_stage(settings, variant), *needs))
    return Stage(
        f"stitch/{name}",
        version=2,
        load=lambda run: run.result.arrays["images"],
        compute=compute,
        reads=("composite.stitch", "invert.preset", *MASK_SETTINGS, *settings_of(variant, settings.edit)),
        needs=tuple(every),
        facts=facts,
        on_device=True,
    )
