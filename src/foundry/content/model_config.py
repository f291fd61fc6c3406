"""What the field ``model_config`` may say about the model that runs the agent."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from foundry.content.json_walk import INTEGER_MAX, find_path
from foundry.content.text import Refused


class ModelConfig(BaseModel):
    """The members foundry knows, all optional; null is as good as absent.

    Providers have many more, so other members are allowed and kept unread. Types are strict: ``"0.5"`` is no number
    and ``true`` is no integer.
    """

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    model: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="Name of the model, 1 to 200 code points."
    )
    temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(
        default=None, description="Sampling temperature, 0 to 2."
    )
    top_p: Annotated[float, Field(ge=0, le=1)] | None = Field(default=None, description="Nucleus sampling, 0 to 1.")
    max_tokens: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Most tokens of one completion, at least 1."
    )
    stop: list[str] | None = Field(default=None, description="Sequences that end a completion.")
    seed: Annotated[int, Field(ge=-INTEGER_MAX, le=INTEGER_MAX)] | None = Field(
        default=None, description="Seed of the sampler."
    )


def check_model_config(text: str, value: object) -> None:
    """Refuse a value that is no ``ModelConfig``.

    Args:
        text: The strict JSON text, for the place of the problem.
        value: What it says.

    Raises:
        Refused: At the value of the first member (in the order of ``ModelConfig``) that does not fit, naming its path.
    """
    if not isinstance(value, dict):
        raise Refused("model_config is a JSON object", text, find_path(text, ()))
    try:
        ModelConfig.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        path = ".".join(str(step) for step in first["loc"])
        raise Refused(f"{path}: {first['msg']}", text, find_path(text, first["loc"])) from None
