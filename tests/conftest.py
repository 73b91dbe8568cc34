"""What every test stands on: an interrupt arrives, also where the shell that started the tests ignores it."""

from __future__ import annotations

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
