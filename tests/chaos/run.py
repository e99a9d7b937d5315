"""``make chaos``: two minutes of use, kills and spoilt bytes; prints what was done and every wrong byte.

python tests/chaos/run.py --help
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def _folder(*, keep: bool) -> Iterator[Path]:
    folder = tempfile.mkdtemp(prefix="chaos-")
    try:
        yield Path(folder)
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    from chaos.driver import run

    parser = argparse.ArgumentParser(description="Use a cache while it is killed and spoiled.")
    parser.add_argument("--seconds", type=float, default=120, help="of each run (default: 120)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    parser.add_argument(
        "--verify", choices=["always", "size"], action="append", help="repeatable; default: both, in turn"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder, to look at")
    given = parser.parse_args()
    failed = False
    for verify in given.verify or ["always", "size"]:
        print(f"seed {given.seed}", flush=True)
        with _folder(keep=given.keep) as folder:
            report = run(folder, seconds=given.seconds, verify=verify, seed=given.seed)
            print(report, flush=True)
            if given.keep:
                print(f"kept: {folder}")
        failed |= report.failed
    return int(failed)


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the harness is the package ``chaos``
    sys.exit(main())
