"""What each score of a secured set costs if nothing but it is computed: FLOPs, counted from shapes.

A parameter costs 2 FLOPs a token that works through it; attention between tokens is not counted (texts are short).
"""

from dataclasses import dataclass

from solid_utils.difficulty.nonlinearity import ANCHORS, PENALTIES, WIDTHS
from solid_utils.model import ridge_map


@dataclass(frozen=True)
class Shapes:
    """What the counts go by."""

    fitted: int  # tokens of the texts that are fitted on
    held_out: int  # tokens of the others
    width: int
    below: int  # parameters up to the layer where the secured part ends, without embeddings
    above: int  # parameters after it, with the head
    previous: int  # earlier tokens that the map may look at

    @property
    def tokens(self) -> int:
        return self.fitted + self.held_out


def flops(shapes: Shapes, products: int) -> dict[str, int]:
    """FLOPs of each score by its name; `products`: forwards that a derivative along a direction takes."""
    states = 2 * shapes.tokens * shapes.below
    fit = states + ridge_map.flops(shapes.fitted, shapes.width, shapes.previous, 0, scaled=True)
    open_part = 2 * shapes.held_out * shapes.above
    return {
        "residual": fit,
        "centred_residual": fit,
        "map_kl": fit + 2 * open_part,  # with the map and without
        "curvature": fit + products * open_part,
        "nonlinearity": fit + kernel(shapes),  # a ridge of its own
        "effective_rank": states + 2 * shapes.tokens * shapes.width**2 + 9 * shapes.width**3,
        "lookup": states + 4 * shapes.tokens * shapes.width,
    }


def kernel(shapes: Shapes) -> int:
    """FLOPs of the kernel ridge: every width, and the best once more on all fitted texts."""
    anchors = min(ANCHORS, shapes.fitted)
    inputs = (shapes.previous + 1) * shapes.width
    equations = 2 * shapes.fitted * anchors * (inputs + anchors + shapes.width) + 2 * anchors**2 * inputs
    solved = anchors**3 // 3 + 2 * anchors**2 * shapes.width
    return (len(WIDTHS) + 1) * equations + (len(WIDTHS) * len(PENALTIES) + 1) * solved
