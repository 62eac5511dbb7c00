"""A deployment drawn as a column of layers: dark is secret, light is open, arrows are what crosses (paper 3.1)."""

from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from solid_utils.deployment.secured import SecuredSet
from solid_utils.deployment.view import View

SECRET = "#30343b"
OPEN = "#e8eef7"
PARTLY = {"hatch": "////", "edgecolor": SECRET}
EDGE = {"edgecolor": "white", "linewidth": 0.8}
LABEL = {"fontsize": 9, "va": "center"}


def states(secured: SecuredSet, seen: View) -> dict[int, str]:
    """By stage, from the embeddings (-1) to what follows the layers (depth): "secret", "partly secret" or "open"."""
    found = {}
    for stage in range(-1, seen.depth + 1):
        whole = stage in secured.layers or stage in (-1, seen.depth)
        found[stage] = "open" if stage not in seen.stages else "secret" if whole else "partly secret"
    return found


def crossings(seen: View, width: int, vocabulary: int) -> list[tuple[int, bool, str]]:
    """(stage above the border, does it enter the secret part, what crosses) for every border of dark and light."""
    found = []
    for stage in seen.stages:
        if stage - 1 not in seen.stages:
            entering = "token ids" if stage <= 0 else f"states, {width:,} numbers a token"
            found.append((stage, True, entering))
        if stage + 1 not in seen.stages:
            last = stage == seen.depth
            leaving = f"{seen.logits}, {vocabulary:,}" if last else f"states, {width:,}"
            found.append((stage + 1, False, f"{leaving} numbers a token"))
    return found


def named(stages: list[int], depth: int) -> str:
    """What these neighbours are called."""
    if stages[0] == -1:
        return "embeddings"
    if stages[0] == depth:
        return "norm and head"
    return f"layer {stages[0]}" if len(stages) == 1 else f"layers {stages[0]}-{stages[-1]}"


def column(axes: Axes, secured: SecuredSet, seen: View, width: int, vocabulary: int) -> None:
    """Draw one deployment, embeddings at the bottom; `width` of the states and `vocabulary` say what arrows carry."""
    state = states(secured, seen)
    for stage, how in state.items():
        fill = OPEN if how != "secret" else SECRET
        style = EDGE | (PARTLY if how == "partly secret" else {})
        axes.add_patch(Rectangle((0, stage), 1, 1, facecolor=fill, **style))
    line = (seen.depth + 2) / 20  # height of a line of text
    below = -1 - line
    for middle, what in labels(state, seen.depth):
        below = max(middle, below + line)  # boxes may be thinner than a line
        axes.text(-0.06, below, what, ha="right", **LABEL)
    for stage, enters, what in crossings(seen, width, vocabulary):
        # Both ends beside the column: an arrow over thin boxes hides them.
        far = stage - 2 * line if enters else stage + 2 * line
        ends = {"xy": (1.08, stage), "xytext": (1.08, far)} if enters else {"xy": (1.08, far), "xytext": (1.08, stage)}
        axes.plot([0, 1.14], [stage, stage], color="C3", linewidth=1.6)
        axes.annotate("", arrowprops={"arrowstyle": "-|>", "color": "C3"}, **ends)
        axes.text(1.18, (stage + far) / 2, f"{'in' if enters else 'out'}: {what}", ha="left", **LABEL)
    axes.set(xlim=(-1.1, 2.6), ylim=(-1 - 2 * line, seen.depth + 1 + 2 * line), title=secured.declaration)
    axes.axis("off")


def labels(state: dict[int, str], depth: int) -> list[tuple[float, str]]:
    """(middle, words) of every row of alike boxes, from the bottom up."""
    kind = {stage: (how, stage == -1, stage == depth) for stage, how in state.items()}
    rows = [(how, list(group)) for (how, *_), group in groupby(state, key=kind.get)]
    return [((stages[0] + stages[-1] + 1) / 2, f"{named(stages, depth)}: {how}") for how, stages in rows]
