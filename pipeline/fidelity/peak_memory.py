"""Run a module as a program and record the most memory that its process held.

    python -m pipeline.fidelity.peak_memory FILE MODULE [ARGUMENTS ...]

FILE receives the peak resident set in MiB.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path


def peak_memory() -> float:
    """Peak resident set of this process in MiB.

    VmHWM of /proc/self/status where there is one: the peak of `getrusage` starts at what the parent process
    held when it started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return float(lines["VmHWM"].split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Run `MODULE` with the arguments after it; its exit code is this process's."""
    file, module, *words = sys.argv[1:]
    sys.argv = [module, *words]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        Path(file).write_text(f"{peak_memory():.0f}")


if __name__ == "__main__":
    main()
