"""The outcome of a recommendation as JSON beside the card, and the exit status that follows from it.

python -m solid_utils.recommend.outcome FILE     one line on an outcome, after checking it against the schema
"""

import sys
from pathlib import Path
from typing import Literal

from pydantic import Field

from solid_utils.core import errors, files, readers
from solid_utils.settings.sections import Count, Positive, Section, validated

SCHEMA = "1"
Verdict = Literal["holds", "undecided", "broken", "not measured"]
# How the command ends. 2 is an error (core/errors.py); without an attack, 0.
STATUS: dict[Verdict, int] = {"holds": 0, "broken": 3, "undecided": 4, "not measured": 4}


class Estimate(Section):
    """A number with its 95 % interval over held-out texts; no ends with a single text."""

    value: float
    low: float | None
    high: float | None


class Secured(Section):
    """A secured set."""

    secured: str = Field(description="its declaration, such as `bottom 2`")
    layers: Positive = Field(description="decoder layers of it, from the bottom")
    parameters: Positive
    share: float = Field(description="of all parameters of the model")


class Prefix(Secured):
    """What an attack on it came to. The attack's part is null where it could not be measured."""

    zero_query: Estimate = Field(description="agreement with the victim before any query, the secured layers random")
    zero_query_kl: Estimate = Field(description="KL(victim || thief), nats, likewise")
    agreement: Estimate | None = Field(description="share of held-out answer tokens on which both name the same one")
    kl: Estimate | None = Field(description="KL(victim || thief), nats, mean over tokens, then texts")
    above_floor: Estimate | None = Field(description="(agreement - floor) / (1 - floor)")
    penalty: float | None = Field(description="of the map, as a share of each input's own square")
    previous: int | None = Field(description="earlier tokens that the map looks at")
    verdict: Verdict = Field(description="holds, broken, undecided or not measured")


class Attack(Section):
    """A measured attack: one linear map a prefix, in closed form."""

    queries: Positive = Field(description="texts that the victim was asked, once for all prefixes")
    tokens: Positive = Field(description="tokens of them")
    asked: str = Field(description="where these texts come from")
    texts: Positive = Field(description="held-out texts, none of them asked")
    answer_tokens: Positive = Field(description="tokens of their answers, which are scored")
    floor: Estimate = Field(description="agreement of counts over public text with the victim, no query")
    floor_by: Literal["constant", "bigram", "trigram"]
    hold_below: float = Field(description="a set holds where the upper end of `above_floor` is below")
    broken_above: float = Field(description="it is broken where the lower end is above")
    seed: Count = Field(description="draws the asked texts and the random layers")
    prefixes: list[Prefix]


class Outcome(Section):
    """All that a card says, for programs."""

    schema_version: Literal["1"]
    model: str
    sha256: str = Field(description="of the weights")
    dtype: str
    recommended: Secured = Field(description="the set that the search found")
    dd: float = Field(description="its distillation difficulty, nats")
    ceiling: float = Field(description="the same of everything")
    epsilon: float
    attack: Attack | None = Field(description="null after --no-attack")
    verdict: Verdict = Field(description="of the recommended set")
    exit_status: Literal[0, 3, 4]


def write(outcome: Outcome, path: Path) -> None:
    """See files.whole."""
    files.write_text(outcome.model_dump_json(indent=2) + "\n", path)


def read(path: Path) -> Outcome:
    """Raises StudyError naming the file and key where it is no outcome of this schema."""
    found = readers.read_object(path, "run solid-recommend again")
    return validated(Outcome, found, str(path))


def main(argv: list[str]) -> None:
    for name in argv:
        found = read(Path(name))
        print(f"{name}: {found.model}: {found.recommended.secured}: {found.verdict}")


if __name__ == "__main__":
    with errors.one_line():
        main(sys.argv[1:])
