"""Every inversion method on the same clips, compared with the truth: `invid bench fidelity` as a script.

python -m benchmarks.fidelity --json > benchmarks/results/fidelity.json
"""

from __future__ import annotations

import sys

from pipeline.commands.__main__ import main

if __name__ == "__main__":
    raise SystemExit(main(["bench", "fidelity", *sys.argv[1:]]))
