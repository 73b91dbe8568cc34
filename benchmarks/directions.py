"""Leakage of directions: changes in parameters other than the one that a direction is named after.

    python -m benchmarks.directions [--people 16] [--judged 800] [--out benchmarks/results/directions.json]

For each parameter, unseen people are moved along its own direction (the central difference of the mapping),
InterfaceGAN's on true parameters, the same conditional on all other parameters, and InterfaceGAN's on the
judge's readings. The own direction makes 1.5 steps. The others make as many steps as give the same predicted
change of the parameter, found on other people. `leak` is the mean absolute change, averaged over the other
parameters; `leak_ratio` is that divided by the change of the parameter itself; `worst` is the parameter that
changed most. All include the judge's noise: the row "the parameter itself" is what it reads from people of
which only the parameter was raised. `cosine` is with the own direction, `length` is that of the step over the
own one's.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.drawn_people import unseen, with_values
from benchmarks.generator_edits import DIRECTIONS, VISIBLE
from benchmarks.report import report
from inverters.editing.interfacegan import conditional, fit_boundary
from inverters.editing.sampling import sample_codes
from inverters.generators.eg3d import Generator
from inverters.generators.load import load_generator
from inverters.people.params import PARAMETERS, index, to_z
from pipeline.directions.strips import draw_codes
from pipeline.machine import machine
from pipeline.scoring.judge import Judge

STEPS = 1.5
"""Of the own direction, in standard deviations of the parameter, from 0.75 below the mean."""
FLOOR = "the parameter itself"
NAMES = [p.name for p in PARAMETERS]


def found(generator: Generator, samples: int, judged: int, judge: Judge) -> dict[str, dict[str, Tensor]]:
    """By method and parameter: directions [w_dim]."""
    codes, scores = sample_codes(generator, samples, torch.Generator().manual_seed(11))
    normals = {n: fit_boundary(codes, scores[:, k]).normal for k, n in enumerate(NAMES)}
    others = {n: torch.stack([v for o, v in normals.items() if o != n]) for n in DIRECTIONS}
    seen, _ = sample_codes(generator, judged, torch.Generator().manual_seed(12))
    labels = torch.from_numpy(judge.scores(draw_codes(generator, seen)))
    return {
        "own": {n: generator.card.directions[n] for n in DIRECTIONS},
        "interfacegan": {n: normals[n] for n in DIRECTIONS},
        "interfacegan, conditional on all others": {
            n: conditional(normals[n], others[n]) for n in DIRECTIONS
        },
        "interfacegan, labelled by the judge": {
            n: fit_boundary(seen, labels[:, index(n)]).normal for n in DIRECTIONS
        },
    }


def people_for(name: str, generator: Generator, scores: Tensor, score: float = -0.75) -> Tensor:
    """Codes of people on whom the parameter, which has this score, can be seen to rise."""
    scores = with_values(scores, **VISIBLE.get(name, {}))
    scores[:, index(name)] = score
    return generator.mapping(to_z(scores, generator.config.z_dim))[:, 0]


def changes(generator: Generator, judge: Judge, codes: Tensor, step: Tensor, before: Any) -> npt.NDArray[Any]:
    """What the judge sees change [n,P]."""
    return np.asarray(judge.scores(draw_codes(generator, codes + step)) - before)


def row(name: str, change: npt.NDArray[Any]) -> dict[str, Any]:
    """What is told of changes [n,P]."""
    rise = change[:, index(name)]
    leaks = np.nanmean(np.abs(np.delete(change, index(name), axis=1)), axis=0)
    worst = int(leaks.argmax())
    return {
        "rise": round(float(np.nanmean(rise)), 3),
        "sign_right": round(float((rise > 0).mean()), 3),
        "leak": round(float(leaks.mean()), 4),
        "leak_ratio": round(float(leaks.mean() / np.nanmean(rise)), 4),
        "worst": [n for n in NAMES if n != name][worst],
        "worst_leak": round(float(leaks[worst]), 3),
    }


def measured(
    generator: Generator, judge: Judge, directions: dict[str, dict[str, Tensor]], people: int
) -> Any:
    """By parameter and method."""
    scores = unseen(people + people // 2, 0)
    table: dict[str, dict[str, Any]] = {}
    for name in DIRECTIONS:
        codes = people_for(name, generator, scores)
        before = judge.scores(draw_codes(generator, codes))
        raised = people_for(name, generator, scores, STEPS - 0.75) - codes
        change = changes(generator, judge, codes[:people], raised[:people], before[:people])
        table[name], target = {FLOOR: row(name, change)}, 0.0
        for method, by_name in directions.items():
            own = STEPS * directions["own"][name]
            step = by_name[name] * (own.norm() / by_name[name].norm())
            for _ in range(1 if method == "own" else 2):  # the judged rise is nearly proportional to the step
                rises = changes(generator, judge, codes[people:], step, before[people:])[:, index(name)]
                if method == "own":
                    target = float(np.nanmean(rises))
                else:
                    step = step * float(np.clip(target / max(np.nanmean(rises), 0.05), 0.4, 2.5))
            change = changes(generator, judge, codes[:people], step, before[:people])
            table[name][method] = row(name, change) | {
                "cosine": round(float(torch.cosine_similarity(step, own, dim=0)), 3),
                "length": round(float(step.norm() / own.norm()), 3),
            }
            print(name, method, table[name][method], flush=True)
    return table


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--people", type=int, default=16)
    parser.add_argument("--samples", type=int, default=8000)
    parser.add_argument("--judged", type=int, default=800, help="random faces that the judge labels")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    args = parser.parse_args()
    began = time.monotonic()
    generator, judge = load_generator("bundled"), Judge()
    with torch.no_grad():
        table = measured(generator, judge, found(generator, args.samples, args.judged, judge), args.people)
    mean = {
        method: round(float(np.mean([table[name][method]["leak_ratio"] for name in DIRECTIONS])), 4)
        for method in table[DIRECTIONS[0]]
    }
    result = {
        "machine": machine(),
        "fingerprint": generator.card.fingerprint,
        "people": args.people,
        "samples": args.samples,
        "judged": args.judged,
        "steps": STEPS,
        "mean_leak_ratio": mean,
        "directions": table,
        "seconds": round(time.monotonic() - began),
    }
    report(result, args.out)


if __name__ == "__main__":
    main()
