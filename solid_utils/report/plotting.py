"""What all figures share: size, colours, legends, and the runs they show."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

PALETTE = sns.color_palette("colorblind")
BLUE, ORANGE, GREY = PALETTE[0], PALETTE[1], PALETTE[7]
ATTACKS = {
    "ft_all": ("o", BLUE),
    "ft_closed": ("s", PALETTE[2]),
    "sem": ("^", ORANGE),
    "stitch": ("D", PALETTE[4]),
}
POINTS = {"marker": "o", "markersize": 4, "capsize": 2, "linewidth": 1.4}  # of lines with error bars
INTERVALS = {"fmt": "none", "ecolor": "black", "elinewidth": 1, "capsize": 2}  # of bars and points
STYLE = {"font.family": "DejaVu Sans", "hatch.linewidth": 0.6, "grid.linewidth": 0.6, "grid.color": "#e3e3e3"}
Tables = Mapping[str, pd.DataFrame]  # by name, of one model
Plot = tuple[Figure, str]  # a figure as matplotlib has it, with its sentence


def canvas(width: float = 7.5, height: float = 4.0, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure in inches, outside pyplot (no window, no global state), and its axes side by side."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def legend_below(figure: Figure, axes: Axes, columns: int = 4) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if axes.get_legend():
        axes.get_legend().remove()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8.5, frameon=False)


def in_percent(*sides) -> None:
    for side in sides:
        side.set_major_formatter(PercentFormatter(1, decimals=0))


def reach(rows: pd.DataFrame, name: str) -> np.ndarray:
    """Lengths of an estimate's interval bars, (below or above, rows); nan where there is no interval.

    An end on the wrong side of its estimate, as a skewed one may have, gives no bar there.
    """
    bars = [rows[name] - rows[f"{name}_low"], rows[f"{name}_high"] - rows[name]]
    return np.array(bars, dtype=float).clip(min=0)


def attack_runs(tables: Tables) -> pd.DataFrame:
    """Runs scored before and after; not the victim and guessing."""
    return tables["attacks"].dropna(subset="recovered_share").reset_index(drop=True)
