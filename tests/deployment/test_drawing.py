"""The column of layers shows what the view of a deployment says: dark boxes, and arrows at their borders only."""

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from solid_utils.deployment import drawing
from solid_utils.deployment.secured import secured_set
from solid_utils.deployment.view import view
from tests.conftest import SMALL, VOCABULARY

WIDTH, DEPTH = SMALL["hidden_size"], SMALL["num_hidden_layers"]


@pytest.mark.parametrize(
    "declaration, dark, arrows",
    [
        ("none", [], []),
        ("layers 1-2", [1, 2], [(1, True, "states, 16"), (3, False, "states, 16")]),
        ("bottom 1", [0], [(0, True, "token ids"), (1, False, "states, 16")]),
        ("layers 0,2", [0, 2], [(0, True, "token"), (1, False, "states"), (2, True, "states"), (3, False, "states")]),
        ("layers 2-3 + rest after layers", [2, 3, DEPTH], [(2, True, "states"), (DEPTH + 1, False, "logits, 97")]),
        ("all", [*range(-1, DEPTH + 1)], [(-1, True, "token ids"), (DEPTH + 1, False, "logits, 97")]),
    ],
)
def test_dark_boxes_and_what_crosses(llama, declaration, dark, arrows):
    secured = secured_set(llama, declaration)
    seen = view(llama, secured)
    axes = Figure().subplots()
    drawing.column(axes, secured, seen, WIDTH, VOCABULARY)
    boxes = {box.get_y(): to_hex(box.get_facecolor()) for box in axes.patches}
    assert sorted(boxes) == [*range(-1, DEPTH + 1)]
    assert [stage for stage in sorted(boxes) if boxes[stage] == drawing.SECRET] == dark
    crossed = drawing.crossings(seen, WIDTH, VOCABULARY)
    assert [(stage, enters) for stage, enters, _ in crossed] == [arrow[:2] for arrow in arrows]
    assert all(found[2].startswith(arrow[2]) for found, arrow in zip(crossed, arrows, strict=True))
    said = [text.get_text() for text in axes.texts]
    assert all(any(what in text for text in said) for *_, what in crossed)


def test_a_layer_with_one_secret_matrix_is_neither_dark_nor_light(llama):
    secured = secured_set(llama, "layer 1 q")
    axes = Figure().subplots()
    drawing.column(axes, secured, view(llama, secured), WIDTH, VOCABULARY)
    assert [box.get_y() for box in axes.patches if box.get_hatch()] == [1]
    assert "layer 1: partly secret" in [text.get_text() for text in axes.texts]
