"""The grammar of secured sets, and the deployments that have a name. No model is needed to see that a text is wrong.

What a term means on a model is deployment/secured.py's.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

from solid_utils.core.errors import StudyError

ROLES = ("q", "k", "v", "o", "gate", "up", "down")  # matrices inside a decoder layer
SAP_OPEN_LAYERS = 6  # the paper, B.3: "keeps the bottom six encoder layers open"
LAPLACE_SCALE = 0.5  # the paper, B.3: Laplace(0, 0.5) on the logits of sap_dp
RANGE = r"\d+(?:\s*-\s*\d+)?"
LAYERS = rf"((?:bottom|top) \d+|layers? {RANGE}(?:\s*,\s*{RANGE})*)(?: ([a-z]+(?:\s*,\s*[a-z]+)*))?"
FIRST = r"first (\d+(?:\.\d+)?) ?([KMB%]?)"
WHOLE = ("all", "none")
ENDS = ("embeddings", "head")


def solid(depth: int, l_star: int | None) -> str:
    """The bottom layers that the SOLID search found."""
    if l_star is None:
        raise StudyError("secured set 'solid': needs the result of the SOLID search; run `dvc repro dd` first")
    return f"bottom {l_star}"


def all_but_six(depth: int, l_star: int | None) -> str:
    """The bottom six layers and the embeddings stay open; a tied head is the embeddings' tensor, so it does, too."""
    if depth <= SAP_OPEN_LAYERS:
        raise StudyError(f"secured set 'sap': needs more than {SAP_OPEN_LAYERS} decoder layers, the model has {depth}")
    return f"layers {SAP_OPEN_LAYERS}-{depth - 1} + rest after layers"


@dataclass(frozen=True)
class Deployment:
    """A named rule: from a model's depth, and SOLID's result, to a declaration; and the noise on its logits."""

    rule: Callable[[int, int | None], str]
    noise: float = 0.0  # scale of Laplace noise


DEPLOYMENTS = {
    "solid": Deployment(solid),
    "darknetz": Deployment(lambda *_: "top 1"),
    "sap": Deployment(all_but_six),
    "sap_dp": Deployment(all_but_six, noise=LAPLACE_SCALE),
    "fully_secured": Deployment(lambda *_: "all"),
    "fully_open": Deployment(lambda *_: "none"),
}


def noise(declaration: str) -> float:
    """Scale of the Laplace noise that a deployment adds to its logits; 0 for a declared set."""
    return DEPLOYMENTS[declaration].noise if declaration in DEPLOYMENTS else 0.0


def terms(declaration: str) -> list[str]:
    """The terms that a declaration joins by "+"."""
    return [term.strip() for term in declaration.split("+")]


def flaw(term: str) -> str:
    """What is wrong with a term, whatever the model; empty where nothing is."""
    if term in ENDS:
        return ""
    if match := re.fullmatch(FIRST, term):
        return "more than the model; write at most first 100%" if match[2] == "%" and float(match[1]) > 100 else ""
    if not (match := re.fullmatch(LAYERS, term)):
        return (
            "not understood; write layers 0-3, layers 0,5, bottom 2, top 2, layer 0 q,k,v, first 20M, first 3%, "
            f"embeddings, head, all, or one of {', '.join(DEPLOYMENTS)}"
        )
    roles = re.split(r"\s*,\s*", match[2]) if match[2] else []
    if unknown := sorted(set(roles) - set(ROLES)):
        return f"'{unknown[0]}' is no matrix of a layer; choose from {', '.join(ROLES)}"
    empty = re.fullmatch(r"(?:bottom|top) 0+", match[1])
    for low, high in re.findall(r"(\d+)\s*-\s*(\d+)", match[1]):
        empty = empty or int(high) < int(low)
    return "empty; name at least one layer, or use fully_open" if empty else ""


def understood(declaration: str) -> str:
    """The declaration, unchanged. Raises ValueError where it can be no secured set of any model."""
    if declaration in DEPLOYMENTS or declaration in WHOLE:
        return declaration
    for term in terms(declaration):
        if wrong := flaw(term):
            raise ValueError(f"secured set '{declaration}': '{term}': {wrong}")
    return declaration


Declaration = Annotated[str, AfterValidator(understood)]
