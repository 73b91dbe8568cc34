"""Fit directions of edits: sample faces, label them, and run a method of `inverters.editing`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pipeline.directions.labelled_faces import SAMPLES, labelled_faces
from pipeline.directions.selection import layers_in, names_in
from pipeline.errors import UserError
from pipeline.request.fields import MOST_SEED, Option

if TYPE_CHECKING:
    from torch import Tensor

    from inverters.editing.directions import Direction, Directions
    from pipeline.directions.labelled_faces import LabelledFaces

METHODS = ("interfacegan", "ganspace", "sefa", "local-basis", "random")
SPACES = ("w", "w+", "z", "z+")
UNIT = "one standard deviation of {} along it"
RANDOM_DEVIATION = 0.2
"""Of each number of a random direction (Katsumata et al. 2024, section 4: "a variance of 0.04")."""


@dataclass(frozen=True)
class FitOptions:
    """Options of `invid directions fit`."""

    method: Annotated[str, Option(choices=METHODS, kind="method")]
    """How they are found."""
    space: Annotated[str, Option(choices=SPACES, kind="space of directions")] = "w"
    """Codes that they move: w or z; with + each layer may have its own step."""
    names: Annotated[str | None, Option(metavar="A,B")] = None
    """interfacegan: fit these attributes, `A,B`; None fits all that have scores."""
    layers: Annotated[str | None, Option(metavar="A-B")] = None
    """Restrict the directions to these layers of w+ or z+, `A-B`; None takes all."""
    samples: Annotated[int | None, Option(metavar="N", least=2, most=10**6)] = None
    """Number of random faces; None takes 8000, or 1000 where the judge labels them."""
    labels: Annotated[str, Option(metavar="parameters|judge|FILE")] = "parameters"
    """interfacegan: `parameters` (the generator's own), `judge`, or a .csv or .npz file of scores."""
    condition_on: Annotated[str | None, Option(metavar="A,B|all")] = None
    """interfacegan: attributes `A,B` or `all` to leave unchanged to first order."""
    components: Annotated[int, Option(least=1, most=10**4)] = 10
    """All methods but interfacegan: number of directions."""
    seed: Annotated[int, Option(least=0, most=MOST_SEED)] = 0
    """Seed of the random faces, and of random directions."""

    @property
    def codes(self) -> Literal["w", "z"]:
        """The codes that they move."""
        return "z" if self.space in ("z", "z+") else "w"


def fit(generator: Any, options: FitOptions, on_note: Callable[[str], None]) -> Directions:
    """Fit the directions asked for.

    A step is one standard deviation of the codes along it; a random one is as it is drawn. on_note is called
    with a line of progress. Raises UserError for options that cannot be met, and InverterError from the
    methods.
    """
    from inverters.editing.directions import Directions

    _check(generator, options)
    layers = layers_in(options.layers, generator.num_ws)
    if options.method == "interfacegan":
        found = _interfacegan(generator, options, on_note)
    elif options.method == "local-basis":
        found = _local_basis(options)
    elif options.method == "random":
        found = _random(generator, options)
    else:
        found = _components(generator, options, layers)
    if layers is not None:
        found = {name: one.in_layers(layers, generator.num_ws) for name, one in found.items()}
    return Directions(found, generator.card.fingerprint, generator.card.name)


def _check(generator: Any, options: FitOptions) -> None:
    if options.samples is not None and options.samples < 2:
        raise UserError(f"--samples must be 2 or more, not {options.samples}")
    if options.method == "interfacegan":
        return
    for name in ("condition_on", "names"):
        if getattr(options, name) is not None:
            raise UserError(f"--{name.replace('_', '-')} is for --method interfacegan")
    if options.method == "local-basis" and options.codes != "z":
        raise UserError("--method local-basis is of the mapping from z, and needs --space z or z+")
    if options.method == "local-basis" and options.layers is not None:
        raise UserError("--method local-basis moves all layers; leave out --layers")
    most = generator.config.z_dim if options.codes == "z" else generator.config.w_dim
    if options.method == "local-basis":
        most = min(generator.config.z_dim, generator.config.w_dim)
    if options.method in ("ganspace", "sefa"):
        most = min(most, (options.samples or SAMPLES) - 1)
    if options.method == "ganspace":
        most = min(most, generator.config.w_dim)
    if not 1 <= options.components <= most:
        raise UserError(f"--components goes from 1 to {most}, not {options.components}")


def _local_basis(options: FitOptions) -> dict[str, Direction]:
    from inverters.editing.directions import Direction
    from inverters.editing.local_basis import LocalBasis

    unit = "a vector of unit length: one standard deviation of a normal z"
    method = "Local Basis: singular vector of the mapping's Jacobian at the edited clip's mean code"
    return {
        f"local{k}": Direction(LocalBasis(k, options.space == "z+"), unit, method, codes="z")
        for k in range(options.components)
    }


def _random(generator: Any, options: FitOptions) -> dict[str, Direction]:
    import torch

    from inverters.editing.directions import Direction

    rng = torch.Generator().manual_seed(options.seed)
    width = generator.config.z_dim if options.codes == "z" else generator.config.w_dim
    steps = RANDOM_DEVIATION * torch.randn(options.components, width, generator=rng)
    unit = f"a vector whose numbers have a standard deviation of {RANDOM_DEVIATION}"
    method = f"random, seed {options.seed}"
    return {f"random{k}": Direction(step, unit, method, codes=options.codes) for k, step in enumerate(steps)}


def _components(generator: Any, options: FitOptions, layers: range | None) -> dict[str, Direction]:
    import torch

    from inverters.editing.directions import Direction
    from inverters.editing.ganspace import components_in_z, principal_components
    from inverters.editing.sampling import mapped
    from inverters.editing.sefa import factorize, mapping_weights, style_weights
    from inverters.fitting.latents import random_z
    from inverters.fitting.spaces import retracted

    samples, count, in_z = options.samples or SAMPLES, options.components, options.codes == "z"
    z = random_z(generator, samples, torch.Generator().manual_seed(options.seed))
    w, z = mapped(generator, z), retracted(z)
    if options.method == "ganspace":
        rows = components_in_z(z, w, count) if in_z else principal_components(w, count)[0]
        method = f"GANSpace: principal component of w over {samples} random faces"
        method += ", by regression in z" if in_z else ""
    elif in_z:
        rows, _ = factorize(mapping_weights(generator), count)
        method = "SeFa: eigenvector of the weights of the mapping's first layer"
    else:
        rows, _ = factorize(style_weights(generator, layers or range(generator.num_ws)), count)
        method = "SeFa: eigenvector of the weights of the style affines"
    spread = ((z if in_z else w) @ rows.T).std(0)
    unit = UNIT.format(options.codes)
    return {
        f"{'pc' if options.method == 'ganspace' else 'sefa'}{k}": Direction(
            row * length, unit, method, codes=options.codes
        )
        for k, (row, length) in enumerate(zip(rows, spread, strict=True))
    }


def _codes_of(faces: LabelledFaces, options: FitOptions) -> Tensor:
    """Codes [N,D] of labelled faces in the space asked for. Raises UserError where they are not known."""
    from inverters.fitting.spaces import retracted

    if options.codes == "w":
        return faces.codes
    if faces.z is None:
        raise UserError(
            f"--space {options.space}: the faces of --labels {options.labels} have codes of w alone; give "
            "a .csv with their seeds"
        )
    return retracted(faces.z)


def _interfacegan(
    generator: Any, options: FitOptions, on_note: Callable[[str], None]
) -> dict[str, Direction]:
    import torch

    from inverters.editing.directions import Direction
    from inverters.editing.interfacegan import conditional, fit_boundary

    faces = labelled_faces(generator, options.labels, options.samples, options.seed, on_note)
    codes, scores, in_z = _codes_of(faces, options), faces.scores, options.codes == "z"
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
        step, unit = normal * (codes @ normal).std(), UNIT.format(options.codes)
        found[name] = Direction(step, unit, method, codes=options.codes, arc=in_z)
    return found
