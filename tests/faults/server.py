"""A server whose event loop can be made to stand still: on SIGUSR1 it does nothing for ``STALL_S`` seconds.

    STALL_S=5 python -m tests.faults.server DATA_DIR LISTEN

Unlike a stopped process it still answers at the level of HTTP/2: the threads of gRPC go on.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from foundry.process import run
from foundry.settings import ServerSettings
from tests.stories.processes import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Mapping


class StallingServer(ServerProcess):
    """This program as a process."""

    def __init__(self, data_dir: Path, *, address: str = "127.0.0.1:0", env: Mapping[str, str] | None = None) -> None:
        super().__init__(data_dir, address=address, env=env)
        self._args = ("-m", "tests.faults.server", str(data_dir), address)


def main(data_dir: str, listen: str) -> int:
    """Serve until SIGTERM."""
    stall_s = float(os.environ.get("STALL_S", "0"))
    signal.signal(signal.SIGUSR1, lambda *_: time.sleep(stall_s))
    return run(ServerSettings(data_dir=Path(data_dir), listen=listen, dev=True))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
