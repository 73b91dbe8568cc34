"""Frame rates as users write them."""

from __future__ import annotations

import re
from fractions import Fraction

from pipeline.errors import UserError, shortened

_RATE = re.compile(r"\s*([0-9]{1,9}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})(?:/([0-9]{1,9}))?\s*")


def parse_rate(text: str, where: str) -> Fraction:
    """Frames a second from text such as `25`, `29.97` or `30000/1001`.

    Raises UserError, which begins with `where`, for anything else, and for none or more than 1000.
    """
    fits = _RATE.fullmatch(text)
    rate = Fraction(fits[1]) / int(fits[2] or 1) if fits and int(fits[2] or 1) else None
    if rate is None:
        raise UserError(f"{where} wants a rate such as 25 or 30000/1001, not '{shortened(text)}'")
    if not 0 < rate <= 1000:
        raise UserError(f"{where} wants a rate above 0 and up to 1000, not {shortened(text)}")
    return rate
