"""Set up for all tests, before torch is loaded: how OpenMP's threads wait; and interrupts arrive, also where the
shell that started the tests ignores them."""

from __future__ import annotations

import signal

import inverters  # noqa: F401 - sets how OpenMP's threads wait, before any import of torch

signal.signal(signal.SIGINT, signal.default_int_handler)
