"""The sweep drawn as a tree of shared states (sweep.py): a line is a layer that runs, a dot a state that is kept."""

from matplotlib.axes import Axes

from solid_utils.difficulty.sweep import Candidate, nodes

RANDOM = {"color": "#30343b", "linewidth": 2.2}  # a layer with fresh random weights
VICTIM = {"color": "C0", "linewidth": 1.2}


def layer_runs(candidates: list[Candidate]) -> tuple[int, int]:
    """How often a layer runs in the sweep, and how often it would were every candidate run by itself."""
    depth = len(candidates[0].layers)
    shared = sum(len(nodes(candidates, number)) for number in range(1, depth + 1))
    return shared, depth * len(candidates)


def places(candidates: list[Candidate]) -> dict[tuple, int]:
    """The row of every state: that of the first candidate that passes through it. A state is its history."""
    depth = len(candidates[0].layers)
    found: dict[tuple, int] = {}
    for row, candidate in enumerate(candidates):
        for number in range(depth + 1):
            found.setdefault(candidate.history(number), row)
    return found


def tree(axes: Axes, named: dict[str, Candidate]) -> None:
    """Draw the states of candidates by name, from what enters layer 0 (left) to what leaves the last layer (right)."""
    rows = places(list(named.values()))
    for history, row in rows.items():
        number = len(history) - 1  # layers that lie behind this state
        if number:
            style = VICTIM if history[-1] is None else RANDOM
            axes.plot([number - 1, number], [rows[history[:-1]], row], zorder=1, **style)
        entry = RANDOM["color"] if history[0] else VICTIM["color"]
        axes.scatter(number, row, s=10, color=entry if not number else "white", edgecolor="black", zorder=2)
    for row, name in enumerate(named):
        axes.text(len(next(iter(named.values())).layers) + 0.3, row, name, va="center", fontsize=9)
    axes.plot([], [], label="a random layer", **RANDOM)
    axes.plot([], [], label="a layer of the victim", **VICTIM)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    axes.set(xlabel="layers passed", yticks=[])
    axes.invert_yaxis()
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.grid(False)
