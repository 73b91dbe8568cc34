"""Set-up of all tests: OpenMP's wait policy, before torch is loaded, and the handler of interrupts, which a
shell may have told its children to ignore."""

from __future__ import annotations

import signal

import inverters  # noqa: F401 - sets how OpenMP's threads wait, before any import of torch

signal.signal(signal.SIGINT, signal.default_int_handler)
