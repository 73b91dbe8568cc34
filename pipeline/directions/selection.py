"""Parse the options `--names` and `--layers` of `invid directions`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.errors import UserError


def names_in(text: str, known: Mapping[str, Any] | tuple[str, ...]) -> list[str]:
    """Split `a,b` into names; raises UserError where one is not in `known`, or there is none."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            listed = ", ".join(list(known)[:60]) or "none"
            raise UserError(f"unknown direction '{name}'; known: {listed}")
    if not names:
        raise UserError(f"'{text}' names no direction")
    return names


def layers_in(text: str | None, num_ws: int) -> range | None:
    """Layers of `A-B` or `A`, both ends included; None for None. Raises UserError outside 0 to num_ws - 1."""
    if text is None:
        return None
    fits = re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", text)
    if not fits or not int(fits[1]) <= int(fits[2] or fits[1]) < num_ws:
        raise UserError(f"--layers {text}: give A-B, from 0 to {num_ws - 1}")
    return range(int(fits[1]), int(fits[2] or fits[1]) + 1)
