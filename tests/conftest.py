"""Set up for all tests: OpenMP's wait policy before torch loads; SIGINT even if the shell ignores it."""

from __future__ import annotations

import signal

import inverters  # noqa: F401 - sets how OpenMP's threads wait, before any import of torch

signal.signal(signal.SIGINT, signal.default_int_handler)
