"""Skin of people: its colour by melanin and blood, its lines and marks, lips and the inside of the mouth."""

from inverters.people.skin.paint import paint_skin

__all__ = ["paint_skin"]
