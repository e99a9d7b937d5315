"""``make bench``: measure layercache beside other tools and beside what the machine can do.

python tests/benchmarks/run.py --help
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the harness is the package ``benchmarks``
    from benchmarks.program import main

    sys.exit(main())
