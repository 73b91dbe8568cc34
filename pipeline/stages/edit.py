"""Stage `edit`: the clip's crops as asked for: edited, without the occluder, from another side."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.clip import F32, F64, I64, U8
from pipeline.request.edits import Edit, View
from pipeline.request.settings import EditSettings, Settings
from pipeline.stages import track
from pipeline.stages.facts import Facts, no_facts
from pipeline.stages.pixels import BATCH, Rows, to_bytes
from pipeline.stages.problem import NEEDS, OfPictures, by_picture, row_times
from pipeline.stages.run import StageRun
from pipeline.stages.smooth import seen_problem, shown_inversion, shown_name, shown_reconstruction
from pipeline.stages.stage import Stage
from storage import StoredArray
from storage.row_blocks import Rows as RowArrays

if TYPE_CHECKING:
    from inverters.base import Inversion, InversionProblem
    from inverters.editing.directions import Direction

ORBIT_YAW, ORBIT_PITCH = 0.45, 0.15
"""Radians by which an orbit turns to either side, and rises."""


@dataclass(frozen=True)
class Variant:
    """One way to render the clip."""

    edits: tuple[Edit, ...] = ()
    remove_occluder: bool = False
    view: View | None = None


def variants(settings: EditSettings) -> dict[str, Variant]:
    """What a job renders, by the name of its output; `edited` is always there."""
    names = ["edited"]
    if settings.remove_occluder:
        names += ["removal", "removal_edited"] if settings.edits else ["removal"]
    if settings.view is not None:
        names.append("view")
    return {name: variant_of(name, settings) for name in names}


def variant_of(name: str, settings: EditSettings) -> Variant:
    """The variant of this name; reads no more settings than `settings_of` names."""
    if name == "removal":
        return Variant((), True)
    if name == "view":
        return Variant(settings.edits, settings.remove_occluder, settings.view)
    return Variant(settings.edits, name == "removal_edited")


def settings_of(name: str, settings: EditSettings) -> tuple[str, ...]:
    """The settings that decide about the variant of this name, for `Stage.reads`."""
    found = [] if name == "removal" else ["edit.edits"]
    if found and settings.edits:
        found += ["edit.ease", "edit.directions", "edit.base_code"]
    return (*found, "edit.remove_occluder", "edit.view") if name == "view" else tuple(found)


def render_variant(
    generator: Any,
    renderer: Any,
    inversion: Inversion,
    problem: InversionProblem,
    variant: Variant,
    times: F64,
    directions: Mapping[str, Direction],
    ease: float,
    plain: Rows | None = None,
    on_rows: Callable[[int, int], None] | None = None,
    first: int = 0,
    picture_rows: I64 | None = None,
) -> Iterator[U8]:
    """Render all pictures from `first` on, uint8 [n,S,S,3] at a time.

    problem: by picture. times [P] in seconds from the start of the clip, for edits with a range, which come
    and go over `ease` s; directions: by the names of edits;
    plain: by picture, the same variant rendered without edits: where no edit is active it is taken over.
    picture_rows [P]: the row of the inversion that each picture shows, ascending; None: one picture a row. A
    picture with the row, codes and camera of the one before is that one again, to the bit.
    """
    import torch

    from inverters.memory import batch

    count = len(problem.frames)
    rows = np.arange(count) if picture_rows is None else picture_rows
    expanded = of_rows(inversion, rows)
    ws = codes_of(generator, expanded, variant, times, directions, ease)
    cam2world = problem.cam2world
    if variant.view is not None:
        pivot = generator.card.camera_rule.pivot
        turned = turned_cameras(cam2world.cpu().numpy(), variant.view, pivot)
        cam2world = torch.from_numpy(turned).to(cam2world)
    touched = (ws != expanded.ws).flatten(1).any(1).numpy() | (plain is None)
    leads = np.flatnonzero(~repeated_pictures(rows, ws, cam2world))
    place = int(np.searchsorted(leads, first, "right")) - 1
    while place < len(leads):
        chosen = leads[place : place + (size := batch(BATCH))]
        if plain is not None and not touched[chosen].any():
            made = np.stack([np.asarray(plain[picture]) for picture in chosen])
        else:
            seen = renderer.render(
                rows[chosen],
                cam2world[chosen],
                problem.intrinsics[chosen],
                ws=ws[chosen],
                remove_occluder=variant.remove_occluder,
            )
            made = to_bytes(seen.image)
        place += size
        stop = int(leads[place]) if place < len(leads) else count
        shows = np.searchsorted(chosen, np.arange(max(first, int(chosen[0])), stop), "right") - 1
        for start in range(0, len(shows), BATCH):
            yield made[shows[start : start + BATCH]]
        if on_rows is not None:
            on_rows(stop, count)


def repeated_pictures(rows: I64, ws: Any, cam2world: Any) -> npt.NDArray[np.bool_]:
    """By picture [P], whether it shows the row, codes and camera of the picture before; not so the first."""
    same = np.zeros(len(rows), bool)
    same[1:] = rows[1:] == rows[:-1]
    for values in (ws, cam2world):
        same[1:] &= (values[1:] == values[:-1]).flatten(1).all(1).cpu().numpy()
    return same


def of_rows(inversion: Inversion, rows: I64) -> Inversion:
    """An inversion with the codes of these rows [P], in their order; itself where they are all rows."""
    if np.array_equal(rows, np.arange(len(inversion.ws))):
        return inversion
    latent = {name: values[rows] for name, values in inversion.latent.items() if name == "z"}
    return replace(inversion, ws=inversion.ws[rows], latent=latent)


def codes_of(
    generator: Any,
    inversion: Inversion,
    variant: Variant,
    times: F64,
    directions: Mapping[str, Direction],
    ease: float,
) -> Any:
    """The codes [P,num_ws,w_dim] of all pictures with a variant's edits; arguments as for `render_variant`.

    inversion: by picture (`of_rows`).
    """
    if not variant.edits:
        return inversion.ws
    import torch

    from inverters.editing.edit import edit_inversion

    seconds = torch.from_numpy(np.asarray(times))
    return edit_inversion(generator, inversion, seconds, variant.edits, directions, ease)


def as_before(edits: Sequence[Edit], times: F64, ease: float) -> npt.NDArray[np.bool_]:
    """By picture [P], whether every edit is in force as far as in the one before; not so in the first."""
    from inverters.editing.edit import edit_presence

    presence = np.array([[edit_presence(edit, float(t), ease) for edit in edits] for t in times])
    same = np.ones(len(times), bool)
    same[:1] = False
    if edits:
        same[1:] = (presence[1:] == presence[:-1]).all(axis=1)
    return same


def view_angles(view: View, count: int) -> tuple[F64, F64]:
    """Yaw and pitch offsets [K] in radians; an orbit goes round once over the clip."""
    if not view.orbit:
        return np.full(count, view.yaw), np.full(count, view.pitch)
    phase = 2 * math.pi * np.arange(count) / max(count, 1)
    return ORBIT_YAW * np.sin(phase), ORBIT_PITCH * (1 - np.cos(phase)) / 2


def turned_cameras(cam2world: F32, view: View, pivot: Sequence[float]) -> F32:
    """A view's cameras [K,4,4] of all rows, from those of the clip."""
    return turn_cameras(cam2world, *view_angles(view, len(cam2world)), np.asarray(pivot, np.float64))


def turn_cameras(cam2world: F32, yaw: F64, pitch: F64, pivot: F64) -> F32:
    """Turn cameras [K,4,4] about the pivot: by `yaw` about the world's y axis to +x, by `pitch` upwards."""
    poses = np.asarray(cam2world, np.float64)
    out = poses.copy()
    for k, pose in enumerate(poses):
        right = pose[:3, 0] * np.array(
            [1.0, 0.0, 1.0]
        )  # level, so that a rolled camera still rises straight up
        right /= max(float(np.linalg.norm(right)), 1e-9)
        turn = _rotation((0.0, 1.0, 0.0), float(yaw[k])) @ _rotation(right, -float(pitch[k]))
        out[k, :3, :3] = turn @ pose[:3, :3]
        out[k, :3, 3] = turn @ (pose[:3, 3] - pivot) + pivot
    return out.astype(np.float32)


def _rotation(axis: Sequence[float] | F64, angle: float) -> F64:
    """Rodrigues' formula: the rotation [3,3] by `angle` about a unit axis."""
    x, y, z = (float(a) for a in axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross)


def images_stage(settings: Settings, name: str) -> str:
    """The stage that renders a variant, before any stitching; that of the reconstruction for no change."""
    if variant_of(name, settings.edit) == Variant():
        return shown_name(settings)
    return f"edit/{name}"


def plain_stage(settings: Settings, name: str) -> str | None:
    """The stage that renders a variant with its edits left out, from the clip's own cameras.

    None for a removal without edits: that is such a rendering itself.
    """
    variant = variant_of(name, settings.edit)
    if not variant.remove_occluder:
        return shown_name(settings)
    return "edit/removal" if variant.edits else None


def images_in(run: StageRun, name: str) -> StoredArray | OfPictures:
    """The rendered crops uint8 [P,S,S,3] in the result of a stage that `run` needs, by picture."""
    if name in ("finetune", "smooth"):
        return by_picture(run, run.result_of(name).arrays["reconstruction"])
    return run.result_of(name).arrays["images"]


def edit_facts(facts: Facts) -> dict[str, str]:
    """The directions of the edits."""
    return facts.direction_digests


def compute(run: StageRun) -> None:
    """Write `images` uint8 [P,S,S,3], the crops of one variant: one for every frame with a face."""
    variant, shown = variant_of(run.part, run.settings.edit), shown_inversion(run)
    plain: Rows | None = None
    if variant.view is None and not variant.remove_occluder:
        plain = shown_reconstruction(run)
    elif run.needed("edit/removal"):
        plain = run.result_of("edit/removal").arrays["images"]
    problem, renderer = seen_problem(run), run.models.renderer(shown)
    directions = run.models.directions if variant.edits else {}
    ease = run.settings.edit.ease if variant.edits else 0.0
    rows = run.of(track.STAGE).rows
    what = (run.models.generator, renderer, shown, problem, variant, row_times(run), directions, ease, plain)

    def rendered(first: int) -> Iterator[RowArrays]:
        for images in render_variant(*what, run.count, first, rows):
            yield {"images": images}

    size = int(run.models.generator.config.img_resolution)
    pixels = run.writer.array("images", (len(problem.frames), size, size, 3), np.uint8)
    for block in run.blocks().all(rendered):
        pixels.write(block["images"])


def stages(settings: Settings) -> list[Stage[StoredArray]]:
    """A stage for each variant that differs from the reconstruction."""
    found: list[Stage[StoredArray]] = []
    for name, variant in variants(settings.edit).items():
        if variant == Variant():
            continue
        removal = ("edit/removal",) if name == "removal_edited" else ()
        stage = Stage(
            f"edit/{name}",
            version=2,
            load=lambda run: run.result.arrays["images"],
            compute=compute,
            reads=settings_of(name, settings.edit),
            needs=(*NEEDS, shown_name(settings), *removal),
            facts=edit_facts if variant.edits else no_facts,
            on_device=True,
        )
        found.append(stage)
    return found
