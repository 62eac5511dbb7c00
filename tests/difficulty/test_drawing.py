"""The tree has a dot a state and a line a layer that runs: as many as the sweep itself works through."""

from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from solid_utils.difficulty import drawing
from solid_utils.difficulty.sweep import Sweep
from solid_utils.difficulty.weights import InMemory
from solid_utils.model.answers import batches, sample_losses

SETS = ["none", "bottom 1", "bottom 2", "layers 2", "all"]


def sweep_and_candidates(llama):
    source = InMemory(llama)
    sweep = Sweep(source, "xavier")
    return sweep, {name: sweep.candidate(source.secured(name), 20) for name in SETS}


def test_the_lines_are_the_layers_that_the_sweep_runs(llama, samples, monkeypatch):
    sweep, named = sweep_and_candidates(llama)
    step = sweep.step
    ran = []

    def counting(index, children, *rest):
        ran.extend(children)
        return step(index, children, *rest)

    monkeypatch.setattr(sweep, "step", counting)
    group = batches(samples, 0, llama.device)[:1]
    list(sweep.run(list(named.values()), group, sample_losses, ""))
    shared, alone = drawing.layer_runs(list(named.values()))
    axes = Figure().subplots()
    drawing.tree(axes, named)
    drawn = [line for line in axes.lines if len(line.get_xdata())]
    assert len(drawn) == shared == len(ran) == 4 + 4 + 3 + 2 + 4
    assert alone == 4 * len(SETS)


def test_dark_lines_are_random_layers(llama):
    _, named = sweep_and_candidates(llama)
    axes = Figure().subplots()
    drawing.tree(axes, named)
    dark = [line for line in axes.lines if len(line.get_xdata()) and to_hex(line.get_color()) == "#30343b"]
    steps = sorted((int(line.get_xdata()[0]), [int(y) for y in line.get_ydata()]) for line in dark)
    # bottom 1 and bottom 2 share layer 0, layers 2 leaves the victim's row, all goes alone on its own.
    assert steps == [(0, [0, 1]), (0, [4, 4]), (1, [1, 2]), (1, [4, 4]), (2, [0, 3]), (2, [4, 4]), (3, [4, 4])]
    assert [text.get_text() for text in axes.texts] == SETS
