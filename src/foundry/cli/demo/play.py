"""Plays stories step by step and keeps account of what was really observed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from foundry.cli.demo.actor import NotObservedError
from foundry.cli.demo.stage import Stage

STEP_S: Final = 60.0
"""How long a step may take, in seconds."""

PLAY_S: Final = 240.0
"""How long all of them may take, in seconds."""

Act: TypeAlias = Callable[[Stage], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Step:
    """One promise of a story, and how it is put to the test.

    Attributes:
        promise: What is observed when it is kept.
        act: Raises ``NotObservedError`` when it is not.
    """

    promise: str
    act: Act


@dataclass(frozen=True, slots=True)
class Story:
    """Steps in their order; each builds on those before it."""

    title: str
    steps: Sequence[Step]


def step(promise: str) -> Callable[[Act], Step]:
    """Make a step of a function."""
    return lambda act: Step(promise, act)


def expect(truth: object, otherwise: str) -> None:
    """Check something that a step promises.

    Raises:
        NotObservedError: It is not so; the message is ``otherwise``.
    """
    if not truth:
        raise NotObservedError(otherwise)


async def play(stories: Sequence[Story], stage: Stage) -> list[str]:
    """Play stories until the end, or until the first step that fails.

    Returns:
        The promises that were not observed: the failed one and all that were not reached.
    """
    loop = asyncio.get_running_loop()
    curtain = loop.time() + PLAY_S
    steps = [(story, step) for story in stories for step in story.steps]
    for index, (story, step) in enumerate(steps):
        if step is story.steps[0]:
            stage.transcript.chapter(story.title)
        try:
            async with asyncio.timeout_at(min(curtain, loop.time() + STEP_S)):
                await step.act(stage)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the promise was not observed
            stage.transcript.missed(step.promise, _why(error))
            return [missing.promise for _, missing in steps[index:]]
        stage.transcript.observed(step.promise)
    return []


def _why(error: Exception) -> str:
    match error:
        case ExceptionGroup():
            return "; ".join(_why(part) for part in error.exceptions)
        case NotObservedError():
            return str(error)
        case TimeoutError():
            return "it took too long"
    return f"{type(error).__name__}: {error}"
