"""One run of a simulated fleet in a process that lives in virtual time: prints what it counted as JSON.

python tests/simulation/run.py --machines 100 --service s3 --leases
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from pathlib import Path


def main() -> None:
    options = _parse()
    from simulation import virtual_time

    virtual_time.install(seed=1)
    from simulation.bucket import GCS, S3
    from simulation.fleet import Fleet, scale_down

    gc.set_threshold(200_000, 20, 1000)  # most objects live as long as the run
    scale_down()
    fleet = Fleet({"s3": S3, "gcs": GCS}[options.service], leases=options.leases)
    print(json.dumps(fleet.run(options.machines)), flush=True)
    os._exit(0)  # to take thousands of machines apart would take longer than the run's last minute


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Simulate machines that start one image.")
    parser.add_argument("--machines", type=int, required=True, metavar="N")
    parser.add_argument("--service", choices=["s3", "gcs"], required=True)
    parser.add_argument("--leases", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # else the order of sets would differ from run to run
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"PYTHONHASHSEED": "0"})
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    main()
