"""What made-up people wear: clothes, glasses, earrings."""

from __future__ import annotations

from inverters.people.wear.worn import Worn, dress

__all__ = ["Worn", "dress"]
