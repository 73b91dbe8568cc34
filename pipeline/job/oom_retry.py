"""Retry a stage with smaller batches after an out-of-memory error."""

from __future__ import annotations

import gc
from collections.abc import Callable

from pipeline.errors import OutOfMemoryError

_WAYS = ("", "a quarter of each batch at a time", "one frame at a time", "activations in the host's memory")


class OomRetry:
    """Runs pieces of work on `device`; after an out-of-memory error all later ones use less memory.

    `level` is that of `inverters.memory.reduced_memory`. `note` is called with one line when it rises.
    """

    def __init__(self, device: str, note: Callable[[str], None]) -> None:
        self.device, self.level = device, 0
        self._note = note

    def runs(self, work: Callable[[], None]) -> bool:
        """Run `work`; return False after an out-of-memory error, when it is to be run again with less.

        Raises:
            OutOfMemoryError: no level needs less memory.
        """
        from inverters import memory

        try:
            with memory.reduced_memory(self.level):
                work()
            return True
        except Exception as error:
            if not memory.is_out_of_memory(error):
                raise
            bytes_needed = memory.needed(error, self.device)
        # Out here nothing holds the failed work's tensors any more.
        gc.collect()
        memory.release(self.device)
        figure = "" if bytes_needed is None else f": at least {bytes_needed / 2**30:.1f} GiB are needed"
        where = f"the memory of {self.device}" if self.device != "cpu" else "this machine's memory"
        last = 2 if self.device == "cpu" else memory.LEVELS - 1
        if self.level >= last:
            raise OutOfMemoryError(
                f"{where} does not suffice even for one frame at a time{figure}; choose --preset draft, "
                "another --device, or end what else uses it"
            )
        self.level += 1
        self._note(f"{where} does not suffice{figure}; going on with {_WAYS[self.level]}")
        return False
