"""Door: `python -m tests.system.faults.battery [--kills 52] [--seed 7]`, the whole of it; counts on the last line."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from harness.config import code_version
from tests.system.faults.damage import check_damaged
from tests.system.faults.disk import a_disk, check_full_disk, check_full_store, check_full_sweep, mounted
from tests.system.faults.kills import KINDS, kill_and_go_on, plan
from tests.system.faults.servers import DELAY_S, check_outage, check_proxied, served
from tests.system.faults.sweeps import Sweep, check_runs


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.system.faults.battery")
    parser.add_argument("--kills", type=int, default=52)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    begun, parts = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="faults-") as place:
        home = Path(place)
        whole = Sweep(home / "kills" / "whole")
        whole.finish(600)
        check_runs(whole)
        found = kill_and_go_on(home / "kills", whole, plan(options.kills, options.seed), options.seed)
        kinds = ", ".join(f"{found[kind]} {kind}" for kind in KINDS)
        parts.append(
            f"{sum(found[kind] for kind in KINDS)} kills ({kinds}) in {found['sweeps']} sweeps, all journals equal,"
            f" one run a trial, none running, at most {found['redone']} steps redone"
        )
        print(parts[-1], flush=True)
        damaged = check_damaged(home / "damaged", 60, options.seed, code_version())
        parts.append(f"{damaged['flipped']} flipped and {damaged['truncated']} truncated checkpoint files")
        print(parts[-1], flush=True)
        disk = a_disk()
        met = check_full_disk(home / "disk", disk) + check_full_store(home / "disk", disk)
        met += check_full_sweep(home / "disk", whole, disk)
        parts.append(f"{met} full disks ({'tmpfs' if disk is mounted else 'by RLIMIT_FSIZE: nobody may mount here'})")
        print(parts[-1], flush=True)
        with served(home / "server") as server:
            points, gone = check_outage(home, server)
            slow, full = check_proxied(home, server, DELAY_S, 0), check_proxied(home, server, 0.0, 507)
        parts.append(
            f"server killed and back: {points} points, none lost; killed, slow and full: journal calls at most"
            f" {1000 * gone:.0f}, {1000 * slow:.0f} and {1000 * full:.0f} ms"
        )
        print(parts[-1], flush=True)
        many = Sweep(home / "many", settings=["seeds=16"], slots=16)
        many.finish(600)
        check_runs(many)
        parts.append(f"{len(many.trials())} trials at once")
    print(f"faults: {'; '.join(parts)}; {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
