"""`invid calibrate`: a generator's own landmarks, crop rule and statistics of P_N, kept with its card."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pipeline.commands.guard import say
from pipeline.errors import UserError
from pipeline.request.fields import MOST_SEED, Option


def run(
    generator: str,
    /,
    *,
    out: Annotated[Path | None, Option(metavar="FILE", default="the generator's own file")] = None,
    faces: Annotated[int, Option(least=1, most=10**5)] = 40,
    views: Annotated[int, Option(least=3, most=100)] = 7,
    seed: Annotated[int, Option(least=0, most=MOST_SEED)] = 0,
) -> int:
    """Find a generator's own landmarks and crop rule, and write its card anew.

    Faces are rendered from known cameras, their landmarks detected and triangulated. An official
    snapshot is written as a .safetensors beside it; the crop rule it was trained with is kept.
    Statistics of the latent space p_n+, of a million random codes, go into NAME.p_n.safetensors.

    Args:
        generator: bundled, PATH.pkl or PATH.safetensors.
        out: The .safetensors to write.
        faces: Random faces to render.
        views: Views of each face.
        seed: Seed of the random faces.
    """
    import torch

    from inverters.fitting.p_files import beside, save_statistics
    from inverters.fitting.p_space import generator_statistics
    from inverters.generators.checkpoint import save_generator
    from inverters.generators.load import BUNDLED, load_generator
    from pipeline.faces.calibrate import crop_rule_for, landmarks3d

    source = BUNDLED if generator == "bundled" else Path(generator)
    out = out or source.with_suffix(".safetensors")
    if out.suffix != ".safetensors":
        raise UserError(f"--out {out}: a generator is written to a name ending in .safetensors")
    loaded = load_generator(source)

    def show(done: int, total: int) -> None:
        print(f"\rfaces {done}/{total}", end="", file=sys.stderr, flush=True)

    found = landmarks3d(loaded, views, faces, seed, on_face=show)
    print(file=sys.stderr)
    card = loaded.card
    official = source.suffix == ".pkl"
    card = replace(
        card,
        landmarks3d=found.as_card(),
        crop_rule=card.crop_rule if official else crop_rule_for(found.ibug, card.crop_rule),
        reports=dict(card.reports) | {"calibration": found.report()},
    )
    save_generator(out, loaded, card, torch.float32 if official else torch.float16)
    # Of the weights as they were rounded, whose fingerprint the card has.
    statistics = generator_statistics(load_generator(out))
    save_statistics(beside(out), statistics)
    say(
        f"{out}: {found.faces} of {found.asked} faces used, "
        f"landmarks agree to {found.residual:.4f} crop widths; P_N of {statistics.samples:,} codes"
    )
    return 0
