"""What a server under test stands on: the suites run unchanged over each of these.

A backend names what it cannot do, with the reason, in ``CANNOT``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.postgres import PostgresServer

SQLITE: Final = "sqlite+memory"
#: Name of each backend, and how many server processes it has.
REPLICAS: Final = {SQLITE: 1, "postgres+memory": 1, "postgres+redis": 1, "postgres+redis*2": 2}

#: What a backend cannot promise, by the name of the test, and why. Everything else holds for each of them.
CANNOT: Final[dict[str, dict[str, str]]] = {name: {} for name in REPLICAS}


@dataclass
class Backend:
    """Where the servers of one test keep what they share; nothing of it is another test's.

    Attributes:
        databases: By data directory, the database of the installation that has it.
    """

    name: str = SQLITE
    postgres: PostgresServer | None = None
    redis_url: str = ""
    databases: dict[Path, str] = field(default_factory=dict)

    @property
    def replicas(self) -> int:
        """How many servers there are at one address."""
        return REPLICAS[self.name]

    def settings(self, data_dir: Path) -> dict[str, Any]:
        """Settings of a server of the installation with this data directory."""
        if self.postgres is None:
            return {}
        if data_dir not in self.databases:
            self.databases[data_dir] = self.postgres.create_database()
        settings = {"database_url": self.postgres.server_url(self.databases[data_dir])}
        return settings | ({"redis_url": self.redis_url} if self.redis_url else {})

    def drop(self) -> None:
        """Remove what was made."""
        for name in self.databases.values():
            assert self.postgres
            self.postgres.drop_database(name)


#: The one that servers are started on now; the fixture ``backend`` sets it.
current = Backend()
