"""The people of the demo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a token.

    Attributes:
        subject: Who it is, for the server.
        name: What the others see.
        style: Colour in the transcript.
        on_the_left: Side of a wide transcript.
    """

    subject: str
    name: str
    style: str
    on_the_left: bool = True


ALICE: Final = Person("alice", "Alice A.", "cyan")
BOB: Final = Person("bob", "Bob B.", "magenta", on_the_left=False)
SRE: Final = Person("sre", "Sam R.", "yellow")
CAST: Final = (ALICE, BOB, SRE)
