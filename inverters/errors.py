"""Errors of the inverters package. A message says what happened, what was seen and what to do."""

from __future__ import annotations


class InverterError(Exception):
    """Base of all errors that `inverters` raises on purpose."""


class CheckpointError(InverterError):
    """A file of a generator, directions or state is damaged, unsafe or of another kind."""


class FingerprintError(InverterError):
    """Codes, directions or encoders belong to another generator; the message names both."""


class UnknownNameError(InverterError):
    """A method, preset, direction or other name that does not exist; the message lists those that do."""


class RendererError(InverterError):
    """The requested renderer cannot do this; the message says which can."""
