"""Set up for all tests: OpenMP's wait policy before torch loads; signals even if the shell ignores them.

No example of Hypothesis has a deadline: a timing is never a test.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

import inverters  # noqa: F401 - sets how OpenMP's threads wait, before any import of torch

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored below nohup
settings.register_profile("invid", deadline=None)
settings.load_profile("invid")


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Commands that a test runs in this process leave their handlers of signals behind."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)
