"""``python -m benchmarks``: start the servers, run the cases, print what came out."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

# Everything is started by exec, nothing by fork; without this gRPC complains at each of them.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

from rich.console import Console

from benchmarks import report as results
from benchmarks import servers
from benchmarks.cases import consoles, fanout, kills, locks, reads, saves
from benchmarks.measure import QUICK, Bench, Report, Scale

_CASES = {
    "reads": reads.run,
    "locks": locks.run,
    "saves": saves.run,
    "fanout": fanout.run,
    "consoles": consoles.run,
    "kills": kills.run,
}

#: Cases that are measured on Postgres and Redis too.
_SHARED = ("locks", "saves", "kills")

#: The tables need that much; a narrower terminal wraps them.
_COLUMNS = 130


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Floors, peers and foundry side by side.")
    parser.add_argument("--quick", action="store_true", help="less of everything, under a minute")
    parser.add_argument("--only", action="append", choices=_CASES, help="only this; repeatable")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results for scripts too")
    options = parser.parse_args()
    console, report, machine = Console(), Report(), results.Machine()
    console.width = max(console.width, _COLUMNS)
    began = time.monotonic()
    scale = QUICK if options.quick else Scale()
    for name in options.only or _CASES:
        console.print(f"[dim]{time.monotonic() - began:4.0f} s  {name}", highlight=False)
        # Each with servers of its own: what one case leaves behind is no burden to the next.
        with tempfile.TemporaryDirectory(prefix="foundry-bench-") as directory, ExitStack() as stack:
            path = Path(directory)
            with_peers = name == "locks"
            bench = Bench(
                scale=scale,
                directory=path,
                report=report,
                foundry=stack.enter_context(servers.foundry(path / "foundry")),
                shared=stack.enter_context(servers.shared_foundry(path / "shared")) if name in _SHARED else None,
                floor=stack.enter_context(servers.floor(path / "floor")),
                etcd=stack.enter_context(servers.etcd(path / "etcd")) if with_peers else None,
                redis=stack.enter_context(servers.redis(path / "redis")) if with_peers else None,
            )
            _CASES[name](bench)
    results.show(report, machine, console)
    console.print(f"Took {time.monotonic() - began:.0f} s.", highlight=False)
    if options.json:
        results.write(report, machine, options.json)


if __name__ == "__main__":
    main()
