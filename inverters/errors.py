"""Errors of the inverters package. Messages say what was seen and what to do."""

from __future__ import annotations


class InverterError(Exception):
    """Base of every error raised on purpose in `inverters`."""


class CheckpointError(InverterError):
    """A generator file is damaged, holds code, or is not a generator."""


class FingerprintError(InverterError):
    """Codes, directions or encoders belong to another generator; the message names both."""


class UnknownNameError(InverterError):
    """A name (method, preset, direction, parameter) that does not exist; the message lists those that do."""


class RendererError(InverterError):
    """The renderer asked for cannot render this; the message says what can."""
