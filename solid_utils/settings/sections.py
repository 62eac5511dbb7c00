"""What every section of params.yaml is made of, and the errors that name its keys."""

import re
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from solid_utils.core.errors import StudyError

Positive = Annotated[int, Field(gt=0, le=10**9)]
Count = Annotated[int, Field(ge=0, le=10**9)]
Weight = Annotated[float, Field(ge=0, le=10**6, allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]  # AdamW moves a weight by about the rate in every step
Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what Python, numpy and torch all take
# Of models, attacks, tiers, ...: part of file names, of DVC's stage names, and of commands that a shell reads. No dot:
# DVC takes it for a level of a section.
NAME = r"[A-Za-z0-9_-]{1,60}"
Start = Literal["xavier", "normal_0.02", "scale_matched", "neighbour_copy", "skip", "skip_neighbour", "public_base"]


def _distinct(seeds: list[int]) -> list[int]:
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"{seeds}: a seed stands twice, and would count as two; name each once")
    return seeds


def _name(text: str) -> str:
    if not re.fullmatch(NAME, text):
        raise ValueError(f"'{text}' is no name; write 1 to 60 letters, digits, _ or -")
    return text


Name = Annotated[str, AfterValidator(_name)]
Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(_distinct)]
S, T = TypeVar("S", bound=BaseModel), TypeVar("T")


class Section(BaseModel):
    """A misspelt key is an error, not a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def pick(section: dict[str, T], name: str, key: str) -> T:
    """The named entry of a section. Raises StudyError listing the names that exist."""
    if name not in section:
        raise StudyError(f"params.yaml: {key}: unknown name '{name}'; choose one of {', '.join(sorted(section))}")
    return section[name]


def merge(base: dict, over: dict) -> dict:
    """Nested dictionaries, `over` winning key by key."""
    merged = dict(base)
    for key, value in over.items():
        merged[key] = merge(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
    return merged


def validated(schema: type[S], raw: dict, where: str, tags: int = 0) -> S:
    """Validate `raw`, turning pydantic's report into one line about its first error.

    `tags`: how many parts of the error's place are names of a union's members, which the user did not write.
    """
    try:
        return schema.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"][tags:] if part != "[key]")
        given = "" if isinstance(first["input"], dict) else f", given {first['input']!r}"
        raise StudyError(
            f"{where}: {key + ': ' if key else ''}{first['msg'].removeprefix('Value error, ')}{given}"
        ) from None
