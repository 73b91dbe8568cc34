"""Print tables.h: piecewise polynomials for softplus and sigmoid.

    python inverters/rendering/csrc/cpu/tables.py > inverters/rendering/csrc/cpu/tables.h

softplus(x) = max(x, 0) + log(1 + e^-t) and sigmoid(-t) = 1 / (1 + e^t) for t = |x|. Both are approximated as
functions of s = 1 + t / 5, from 1 to 4, in eight equal pieces from 1 to 2 and eight from 2 to 4: the lowest
bit of the exponent and three bits of the mantissa are the number of the piece. A piece is a minimax
polynomial of degree 4 in the remainder of s over a multiple of 1/4. The last piece ends at zero, the value
for t >= 15.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STRETCH = 5.0
DEGREE = 4
Array = NDArray[np.float64]


def bounds(piece: int) -> tuple[float, float]:
    """Ends of a piece in s. Pieces 8 to 15 come before 0 to 7, as 1 to 2 has an odd exponent."""
    return (1 + (piece - 8) / 8, 1 + (piece - 7) / 8) if piece >= 8 else (2 + piece / 4, 2 + (piece + 1) / 4)


def fitted(values: Array, places: Array) -> tuple[Array, float]:
    """Minimax coefficients by Lawson's iteration, and the largest error."""
    powers = np.stack([places**k for k in range(DEGREE + 1)], 1)
    weights = np.ones_like(places)
    for _ in range(400):
        root = np.sqrt(weights)
        coefficients = np.linalg.lstsq(powers * root[:, None], values * root, rcond=None)[0]
        errors = np.abs(powers @ coefficients - values)
        weights *= errors / errors.max() + 1e-9
        weights /= weights.sum()
    return coefficients, float(errors.max())


def table(name: str, tail: Array, s: list[Array]) -> str:
    """C++ array: row k holds coefficient k of every piece."""
    fits = [fitted(y, x - np.floor(x[-1] * 4) / 4) for y, x in zip(tail, s, strict=True)]
    rows = []
    for k in range(DEGREE + 1):
        numbers = [f"{np.float32(c[k]):.9g}f" for c, _ in fits]
        lines = [", ".join(numbers[i : i + 6]) for i in range(0, 16, 6)]
        rows.append("    {" + ",\n     ".join(lines) + "},\n")
    worst = max(error for _, error in fits)
    head = f"alignas(64) static const float {name}[{DEGREE + 1}][16] = {{"
    return f"// Greatest error {worst:.1e}.\n{head}\n{''.join(rows)}}};\n"


def main() -> None:
    """Print the header."""
    nodes = np.cos(np.linspace(0, np.pi, 801)) / 2 + 0.5  # from the upper end to the lower
    s = [low + nodes * (high - low) for low, high in map(bounds, range(16))]
    softplus, sigmoid = [], []
    for piece, place in enumerate(s):
        t = (place - 1) * STRETCH
        fade = nodes * (piece == 7)
        softplus.append(np.log1p(np.exp(-t)) - fade * np.log1p(np.exp(-3 * STRETCH)))
        sigmoid.append(1 / (1 + np.exp(t)) - fade / (1 + np.exp(3 * STRETCH)))
    print("// Written by tables.py, which says what it holds.\n#pragma once\n")
    print(table("kTailOfSoftplus", np.array(softplus), s))
    print(table("kTailOfSigmoid", np.array(sigmoid), s), end="")


if __name__ == "__main__":
    main()
