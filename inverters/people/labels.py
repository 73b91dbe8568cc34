"""Numbers of what a pixel of a picture shows."""

from __future__ import annotations

BACKDROP, SKIN, LIPS, EYE, MOUTH, BROW, HAIR, CLOTH, GLASSES, BEARD, JEWELLERY, OCCLUDER = range(12)
"""MOUTH: teeth, tongue and what lies behind the lips; BROW: with the lashes."""

NAMES = (
    "backdrop",
    "skin",
    "lips",
    "eye",
    "mouth",
    "brow",
    "hair",
    "cloth",
    "glasses",
    "beard",
    "jewellery",
    "occluder",
)
