"""The dictionary of result columns: docs/columns.md, from the schemas, the shipped tables and their meanings.

python -m solid_utils.report.dictionary            print the page
python -m solid_utils.report.dictionary --write    write it to docs/columns.md
"""

import sys
from pathlib import Path

from solid_utils.core import paths, readers, schema
from solid_utils.core.errors import StudyError, one_line
from solid_utils.core.files import write_text
from solid_utils.report import forecasts, holding, vendor
from solid_utils.report.meanings import MEANING
from solid_utils.report.tables import deployment, equivalence, published_adapters, trade_off

PAGE = Path("docs/columns.md")
ENDS = ("_low", "_high")  # of an interval
FILES = {  # name in the page: (columns, where such files lie)
    "scores": (schema.SCORES, "`scores.csv` of a victim, an attack or a customization, and every cell of the grid"),
    "items": (schema.ITEMS, "`items.csv`, beside the scores: the items behind them"),
    "curve": (schema.CURVE, "`curve.csv` of an attack or a customization: training"),
    "answers": (schema.ANSWERS, "`answers.csv` of an attack: greedy answers side by side"),
    "dd": (schema.DD, "`curve.csv` in `dd` and `scan`: distillation difficulty"),
    "leaks": (schema.LEAKS, "`leaks.csv` of a grid, and the table: what logits alone give away"),
    "defences": (schema.DEFENCES, "`defences.csv` in `deployment`: defences at the boundary, as attacked"),
    "costs": (schema.DEPLOYED, "`costs.csv` in `deployment`: what a deployment costs, by kind of work"),
    "deployed": (deployment.DEPLOYED, "the table of these costs"),
    "defended": (
        list(dict.fromkeys([*schema.DEFENDED, *deployment.DEFENDED])),
        "`defended.csv` in `deployment`, by text, and the table: attacks that know of a defence",
    ),
    "boundaries": (vendor.BOUNDARIES, "`boundaries.csv` in `vendor`, and the table: defences with their utility"),
    "served": (
        list(dict.fromkeys([*schema.SERVED, *vendor.SERVED])),
        "`served.csv` in `vendor`, a row a benchmark, and the table, a row a defence: benchmarks through a defence",
    ),
    "pieces": (vendor.PIECES, "`pieces.csv` in `vendor`, and the table: separated secured pieces"),
    "turns": (vendor.TURNS, "`turns.csv` in `vendor`, and the table: two secret bottoms that answer in turn"),
    "rotation": (vendor.ROTATION, "`rotation.csv` in `vendor`, and the table: a rotated export, attacked"),
    "monitor": (vendor.MONITOR, "`monitor.csv` in `vendor`, and the table: a monitor of queries"),
    "disguised": (vendor.DISGUISED, "`disguised.csv` in `vendor`, and the table: asking as a customer does"),
    "ends": (vendor.ENDS, "`reference/ends.csv`, and the table: embeddings and one layer, counted"),
    "holding": (holding.TABLE, "the table of secured sets and whether they hold"),
    "texts": (schema.TEXTS, "`CELL.items.csv` of the scale study, beside a cell: every held-out text by itself"),
    "registered": (schema.REGISTERED, "`hypotheses.csv` of the scale study: what was asked when a cell began"),
    "set_scores": (schema.SET_SCORES, "`set_scores.csv` of the scale study: scores of secured sets without training"),
    "exactness": (schema.EXACTNESS, "`exactness.csv` of the scale study: what noise on the first layer leaves"),
    "snapping": (schema.SNAPPING, "`snapping.csv` of the scale study: such noise rounded to the weights' own grid"),
    "basin": (schema.BASIN, "`basin.csv` of the scale study: what training leaves of such noise"),
    "off_grid": (schema.OFF_GRID, "`off_grid.csv` of the scale study: the same theft of a victim off its grid"),
    "forecasts": (forecasts.TABLE, "the table of these scores against DD, as forecasts of where attacks ended"),
    "floor": (schema.FLOOR, "`floor.csv`, beside a victim's scores and in a grid: what public text alone gives"),
    "customers": (schema.CUSTOMERS, "`plan.csv` of customization cells: all that were planned, run or not"),
    "tries": (schema.TRIES, "`tries.csv` of customization cells: recipes tried on validation problems"),
    "equivalence": (equivalence.COLUMNS, "the table of customization cells beside the fully open one"),
    "trade_off": (trade_off.COLUMNS, "the table of what securing a set costs customer and thief"),
    "adapters": (schema.ADAPTERS, "a cell on what a published adapter or a public base gives a thief"),
    "adapter_plan": (schema.ADAPTER_PLAN, "`plan.csv` of these cells: all that were planned, run or not"),
    "published_adapters": (published_adapters.COLUMNS, "the table of these cells"),
    "theory": (schema.THEORY, "`steps.csv` in `theory`: Theorem 1, computed step by step"),
    "layers": (schema.THEORY_LAYERS, "`layers.csv` in `theory`: the same quantities on the model's own layers"),
}
HEAD = """# Columns

Every column of every result file, with its unit. This page is generated: mend `solid_utils/report/meanings.py`, then
`python -m solid_utils.report.dictionary --write`. Fractions are between 0 and 1 here; the report prints them in
percent. No file holds a time or a date: two cold runs on one machine give the same bytes.

`NAME_low` and `NAME_high` are the ends of the 95 % interval of `NAME`; the list marks such columns with a ±.
Blank means unknown or without sense, never zero.

## Files
"""


def files() -> dict[str, list[str]]:
    """Columns of every kind of result file, by its name in the page: the schemas, the grid's plan, the tables."""
    found = {name: list(columns) for name, (columns, _) in FILES.items()}
    shipped = [*paths.REFERENCE.glob("*/grid/*/plan.csv"), *sorted(paths.REFERENCE.glob("*/tables/*.csv"))]
    if not shipped:
        raise StudyError(f"{paths.REFERENCE}: no shipped tables; start at the top of the repository")
    for path in shipped:
        columns = found.setdefault(path.stem, [])
        columns += [column for column in readers.csv_header(path, "run `make tables` again") if column not in columns]
    return found


def entry(file: str, column: str) -> str:
    """The key of MEANING for a column of a file; an interval's end has that of its estimate.

    Raises StudyError where none says what the column means.
    """
    for name in (column, *(column.removesuffix(end) for end in ENDS if column.endswith(end))):
        for key in (f"{file}.{name}", name):
            if key in MEANING:
                return key
    raise StudyError(f"{file}.csv: no meaning for the column '{column}'; add a line to solid_utils/report/meanings.py")


def page() -> str:
    """The whole page, as docs/columns.md holds it."""
    found = files()
    places, resampled = {}, set()
    for file, columns in found.items():
        for column in columns:
            key = entry(file, column)
            of_key = places.setdefault(key, [])
            of_key += [] if file in of_key else [file]
            if column not in MEANING and column.endswith(ENDS):
                resampled.add(key)
    lines = [HEAD, "| file | columns |", "|---|---|"]
    lines += [f"| {where(file)} | {', '.join(columns)} |" for file, columns in found.items()]
    lines += ["", "## What they mean", "", "| column | unit | meaning | in |", "|---|---|---|---|"]
    for key in sorted(places, key=lambda name: (name.rpartition(".")[2], name)):
        name = f"`{key.rpartition('.')[2]}`" + (" ±" if key in resampled else "")
        lines.append(f"| {name} | {' | '.join(MEANING[key])} | {', '.join(places[key])} |")
    return "\n".join(lines) + "\n"


def where(file: str) -> str:
    """A file's name and, where its name does not say it, what it is."""
    if file in FILES:
        return f"{file}: {FILES[file][1]}"
    return f"{file}: `plan.csv` of a grid" if file == "plan" else f"{file}: the table `tables/{file}.csv`"


def main(arguments: list[str]) -> None:
    """Print the page, or write it where `--write` says so."""
    if arguments not in ([], ["--write"]):
        raise StudyError(f"dictionary: '{' '.join(arguments)}' is not understood; nothing, or --write")
    if arguments:
        write_text(page(), PAGE)
    else:
        print(page(), end="")


if __name__ == "__main__":
    with one_line():
        main(sys.argv[1:])
