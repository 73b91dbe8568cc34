"""Fit directions of edits: sample faces, label them, and run a method of `inverters.editing`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pipeline.directions.labelled_faces import SAMPLES, labelled_faces
from pipeline.directions.selection import layers_in, names_in
from pipeline.errors import UserError
from pipeline.request.fields import MOST_SEED, Option

if TYPE_CHECKING:
    from inverters.editing.directions import Direction, Directions

METHODS = ("interfacegan", "ganspace", "sefa")
UNIT = "one standard deviation of w along it"


@dataclass(frozen=True)
class FitOptions:
    """Options of `invid directions fit`."""

    method: Annotated[str, Option(choices=METHODS, kind="method")]
    """How they are found."""
    names: Annotated[str | None, Option(metavar="A,B")] = None
    """interfacegan: fit these attributes, `A,B`; None fits all that have scores."""
    layers: Annotated[str | None, Option(metavar="A-B")] = None
    """Restrict the directions to these layers of w+, `A-B`; None takes all."""
    samples: Annotated[int | None, Option(metavar="N", least=2, most=10**6)] = None
    """Number of random faces; None takes 8000, or 1000 where the judge labels them."""
    labels: Annotated[str, Option(metavar="parameters|judge|FILE")] = "parameters"
    """interfacegan: `parameters` (the generator's own), `judge`, or a .csv or .npz file of scores."""
    condition_on: Annotated[str | None, Option(metavar="A,B|all")] = None
    """interfacegan: attributes `A,B` or `all` to leave unchanged to first order."""
    components: Annotated[int, Option(least=1, most=10**4)] = 10
    """ganspace and sefa: number of directions."""
    seed: Annotated[int, Option(least=0, most=MOST_SEED)] = 0
    """Seed of the random faces."""


def fit(generator: Any, options: FitOptions, on_note: Callable[[str], None]) -> Directions:
    """Fit the directions asked for; a step of each is one standard deviation of w along it.

    on_note is called with a line of progress. Raises UserError for options that cannot be met, and
    InverterError from the methods.
    """
    from inverters.editing.directions import Directions

    if options.samples is not None and options.samples < 2:
        raise UserError(f"--samples must be 2 or more, not {options.samples}")
    if options.method != "interfacegan":
        for name in ("condition_on", "names"):
            if getattr(options, name) is not None:
                raise UserError(f"--{name.replace('_', '-')} is for --method interfacegan")
    layers = layers_in(options.layers, generator.num_ws)
    if options.method == "interfacegan":
        found = _interfacegan(generator, options, on_note)
    else:
        found = _components(generator, options, layers)
    if layers is not None:
        found = {name: one.in_layers(layers, generator.num_ws) for name, one in found.items()}
    return Directions(found, generator.card.fingerprint, generator.card.name)


def _components(generator: Any, options: FitOptions, layers: range | None) -> dict[str, Direction]:
    import torch

    from inverters.editing.directions import Direction
    from inverters.editing.ganspace import principal_components
    from inverters.editing.sampling import sample_codes
    from inverters.editing.sefa import factorize, style_weights

    width, samples = generator.config.w_dim, options.samples or SAMPLES
    if not 1 <= options.components <= min(width, samples - 1):
        raise UserError(f"--components goes from 1 to {min(width, samples - 1)}, not {options.components}")
    codes, _ = sample_codes(generator, samples, torch.Generator().manual_seed(options.seed))
    if options.method == "ganspace":
        rows, _ = principal_components(codes, options.components)
        method = f"GANSpace: principal component of w over {samples} random faces"
    else:
        rows, _ = factorize(style_weights(generator, layers or range(generator.num_ws)), options.components)
        method = "SeFa: eigenvector of the weights of the style affines"
    spread = (codes @ rows.T).std(0)
    return {
        f"{'pc' if options.method == 'ganspace' else 'sefa'}{k}": Direction(row * length, UNIT, method)
        for k, (row, length) in enumerate(zip(rows, spread, strict=True))
    }


def _interfacegan(
    generator: Any, options: FitOptions, on_note: Callable[[str], None]
) -> dict[str, Direction]:
    import torch

    from inverters.editing.directions import Direction
    from inverters.editing.interfacegan import conditional, fit_boundary

    faces = labelled_faces(generator, options.labels, options.samples, options.seed, on_note)
    codes, scores = faces.codes, faces.scores
    names = names_in(options.names, tuple(scores)) if options.names else list(scores)
    if options.condition_on in (None, "all"):
        others = names if options.condition_on else []
    else:
        others = names_in(options.condition_on, tuple(scores))
    rng = torch.Generator().manual_seed(options.seed)
    planes = {name: fit_boundary(codes, scores[name], rng=rng) for name in dict.fromkeys([*names, *others])}
    found: dict[str, Direction] = {}
    for name in names:
        fixed = [planes[other].normal for other in others if other != name]
        normal = planes[name].normal
        if fixed:
            normal = conditional(normal, torch.stack(fixed))
        known = scores[name].isfinite()
        method = f"InterfaceGAN on {int(known.sum())} faces, {faces.source}; "
        method += f"{planes[name].accuracy:.1%} of held-out faces right"
        if fixed:
            left = ", ".join(o for o in others if o != name) if len(fixed) <= 5 else f"{len(fixed)} others"
            method += f"; conditional on {left}"
        found[name] = Direction(normal * (codes @ normal).std(), UNIT, method)
    return found
