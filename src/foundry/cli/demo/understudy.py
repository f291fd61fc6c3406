"""A process that can play any client of the demo, and waits to be told which.

Starting a program costs more than what most commands do, so each process is started while the one before plays:

    python -m foundry.cli.demo.understudy

    <- {"module": "foundry", "args": ["--json", "health"], "env": {"FOUNDRY_TARGET": "..."}, "stderr": "FILE"}

From then on it is what ``python -m MODULE ARGS`` would be: one client, with a connection and an end of its own. It ends
without a word when its standard input does.
"""

from __future__ import annotations

import json
import os
import runpy
import sys

import foundry.cli
import foundry.client  # noqa: F401 - what takes its time


def main() -> None:
    """Wait for a part, and play it."""
    # Without a buffer: what follows the first line is for whoever is played.
    with open(0, "rb", buffering=0, closefd=False) as stdin:
        line = stdin.readline()
    if not line:
        return
    part = json.loads(line)
    os.environ.update(part["env"])
    sys.argv[1:] = part["args"]
    if part["stderr"]:
        os.dup2(os.open(part["stderr"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), 2)
    runpy.run_module(part["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
