"""What a check found, and how much it looked at."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that does not hold.

    Attributes:
        invariant: ``I1`` to ``I14``, ``B8`` or ``B9`` of the guarantees of the broadcast, ``C3`` for a field whose
            history no order explains, or ``seen`` when a check had nothing to look at.
        text: What is wrong, in a sentence.
        evidence: The operations, entries, notes or samples that show it.
    """

    invariant: str
    text: str
    evidence: tuple[Any, ...] = ()


@dataclass(slots=True)
class Report:
    """The result of a check.

    Attributes:
        violations: What is wrong, in the order in which it was found.
        counts: How much of what was looked at.
        figures: Measured times in seconds, by what was measured.
    """

    violations: list[Violation] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    figures: dict[str, list[float]] = field(default_factory=dict)

    def add(self, invariant: str, text: str, *evidence: Any) -> None:
        """Report a violation."""
        self.violations.append(Violation(invariant, text, evidence))

    def measure(self, what: str, seconds: float) -> None:
        """Note a figure."""
        self.figures.setdefault(what, []).append(seconds)

    def demand(self, **least: int) -> None:
        """Report what was seen too little of: a check that looked at nothing has proved nothing."""
        for what, number in least.items():
            if self.counts[what] < number:
                self.add("seen", f"{self.counts[what]} {what} were checked, at least {number} were expected")

    @property
    def broken(self) -> set[str]:
        """The invariants that do not hold."""
        return {it.invariant for it in self.violations}

    def summary(self) -> str:
        """All of it as text: counts, figures, and each violation with its evidence."""
        lines = [", ".join(f"{number} {what}" for what, number in sorted(self.counts.items())) or "nothing was checked"]
        for what, seconds in sorted(self.figures.items()):
            lines.append(f"{what}: {len(seconds)} times, median {median(seconds):.3f} s, longest {max(seconds):.3f} s")
        for it in self.violations:
            lines.append(f"{it.invariant}: {it.text}")
            lines += [f"    {shown}" for shown in it.evidence]
        return "\n".join(lines)
