"""Places in a model of any depth, for grids that run on several: "place 1/4" is layer 7 of 30 and layer 6 of 28.

- "place S": the layer at the share S of the way from the first layer (0) to the last (1).
- "pair S": two neighbouring layers that begin at that share of the way, "pair 1" the last two.
- "prefix N": the bottom N layers; "prefix S" with a fraction S: the bottom share of them, "prefix 1/1" all.
"""

import re
from fractions import Fraction
from typing import Annotated

from pydantic import AfterValidator

from solid_utils.settings import grammar

PLACE = r"(place|pair|prefix) (\d+(?:/\d+)?)"
NOMINAL = 1000  # layers of a model on which any sensible place exists: settings are checked without a model


def concrete(text: str, depth: int) -> str:
    """The declaration that a place stands for in a model of `depth` layers; other texts as they are.

    Raises ValueError where the place does not exist in such a model.
    """
    if not (match := re.fullmatch(PLACE, text)):
        return text
    kind, share = match[1], Fraction(match[2])
    if kind == "prefix":
        first, last = 0, (int(share * depth) if "/" in match[2] else int(share)) - 1
    else:
        first = int(share * (depth - (2 if kind == "pair" else 1)))
        last = first + (kind == "pair")
    if not 0 <= first <= last < depth:
        raise ValueError(f"'{text}': a model of {depth} layers has no such place")
    return f"layers {first}" if first == last else f"layers {first}-{last}"


def understood(text: str) -> str:
    """The text, unchanged. Raises ValueError where it can be neither a place nor a secured set of any model."""
    if re.match(r"(place|pair|prefix)\b", text) and not re.fullmatch(PLACE, text):
        raise ValueError(f"'{text}': not understood; write place 1/4, pair 1/4, prefix 4 or prefix 1/2")
    if re.search(r"/0+$", text):
        raise ValueError(f"'{text}': a share of nothing; write place 1/4, pair 1/4 or prefix 1/2")
    grammar.understood(concrete(text, NOMINAL))
    return text


Place = Annotated[str, AfterValidator(understood)]
