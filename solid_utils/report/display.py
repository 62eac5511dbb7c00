"""How tables are shown to readers: headings, rounding, and what fits a terminal."""

import textwrap

import pandas as pd

from solid_utils.metrics.attack_cost import ORDER, by_number
from solid_utils.metrics.attack_cost import compact as compact_count
from solid_utils.report import display_grid
from solid_utils.report.readings import sentence

WIDTH = 120  # columns of a terminal
WRITTEN = {
    "number": "{:.2f}".format,
    "count": "{:.0f}".format,
    "percent": lambda value: f"{100 * value:.1f}",
    "text": str,
    "flag": lambda value: "yes" if value else "",
    "figures": lambda value: f"{value:.3g}",
}

# Column -> heading and how a cell is written. Columns after "|" appear on the page but not in the terminal.
SHOWN = {
    "attacks": {
        "run": ("run", "text"),
        "secured": ("secured", "text"),
        "queries": ("queries", "count"),
        "agreement_start": ("start %", "percent"),
        "agreement": ("after %", "percent"),
        "recovered_share": ("recov. %", "percent"),
        "adr_mean_of_ratios": ("ADR A %", "percent"),
        "chance_corrected_ratio": ("corr. %", "percent"),
        "|": None,
        "adr_ratio_of_means": ("ADR B %", "percent"),
        "adr_domains_mean_of_ratios": ("ADR C %", "percent"),
        "adr_domains_ratio_of_means": ("ADR D %", "percent"),
        "delta_adr": ("delta ADR", "percent"),
        "kl": ("KL", "number"),
        "cross_entropy": ("CE", "number"),
        "share": ("share %", "percent"),
        "steps": ("steps", "count"),
        "deployment": ("deployment", "text"),
        "attack": ("attack", "text"),
        "view": ("attacker sees", "text"),
        "seeds": ("seeds", "count"),
    },
    "fidelity": {
        "run": ("run", "text"),
        "prompts": ("prompts", "text"),
        "tokens": ("answer tokens", "count"),
        "agreement_start": ("start %", "percent"),
        "agreement": ("after %", "percent"),
        "recovered_share": ("recov. %", "percent"),
        "kl": ("KL", "number"),
        "cross_entropy": ("CE", "number"),
        "greedy_match": ("same greedy answer %", "percent"),
        "common_prefix": ("common prefix %", "percent"),
    },
    "ratios": {
        "run": ("run", "text"),
        "domain": ("domain", "text"),
        "benchmark": ("benchmark", "text"),
        "adr_mean_of_ratios": ("ADR A %", "percent"),
        "adr_ratio_of_means": ("ADR B %", "percent"),
        "chance_corrected_ratio": ("corr. %", "percent"),
    },
    "attack_cost": {
        "deployment": ("deployment", "text"),
        "secured": ("secured", "text"),
        "level": ("recovered %", "percent"),
        "measure": ("cost in", "text"),
        "attack": ("best attack", "text"),
        "cost": ("cost", "figures"),
        "censored": ("not reached with", "flag"),
        "of_legitimate": ("of a legitimate epoch %", "percent"),
        "|": None,
        "recipe": ("recipe", "text"),
        "seeds": ("seeds", "count"),
    },
    "attack_budgets": {
        "deployment": ("deployment", "text"),
        "secured": ("secured", "text"),
    },
    "difficulty_ranks": {
        "level": ("recovered %", "percent"),
        "measure": ("cost in", "text"),
        "score": ("ranked by", "text"),
        "sets": ("sets", "count"),
        "censored": ("not reached", "count"),
        "spearman": ("Spearman", "number"),
        "pearson": ("Pearson", "number"),
    },
    "difficulty": {
        "kind": ("kind", "text"),
        "secured": ("secured", "text"),
        "share": ("share %", "percent"),
        "start": ("start", "text"),
        "dd": ("DD", "number"),
        "stderr": ("±", "number"),
        "share_of_ceiling": ("of ceiling %", "percent"),
        "victim": ("victim", "number"),
        "ceiling": ("ceiling", "number"),
        "is_solid": ("SOLID", "flag"),
    },
    "search": {
        "start": ("start", "text"),
        "l_star": ("l*", "count"),
        "secured": ("secured", "text"),
        "epsilon": ("epsilon", "number"),
        "dd": ("DD", "number"),
        "ceiling": ("ceiling", "number"),
        "evaluations": ("evaluations", "count"),
        "saved": ("saved", "count"),
    },
    "customization": {
        "run": ("run", "text"),
        "secured": ("secured", "text"),
        "benchmark": ("problems", "text"),
        "n": ("n", "count"),
        "before": ("before %", "percent"),
        "after": ("after %", "percent"),
        "gain": ("gain", "percent"),
        "gap_to_fully_open": ("gap to fully open", "percent"),
        "|": None,
        "stderr": ("after, ± %", "percent"),
        "gap_stderr": ("gap, ±", "percent"),
    },
    "claims": {
        "claim": ("paper's claim", "text"),
        "source": ("where", "text"),
        "paper_said": ("paper said", "text"),
        "we_measured": ("we measured", "text"),
        "verdict": ("verdict", "text"),
        "rule": ("rule", "text"),
    },
} | display_grid.SHOWN


def compact(name: str, table: pd.DataFrame, printed: bool = False) -> pd.DataFrame:
    """A table as short strings under readable headings; `printed` keeps what fits a terminal."""
    if name == "benchmarks":
        return _benchmarks_by_run(table)
    if name == "attack_budgets":
        return _budgets_by_set(table)
    if name == "fidelity" and printed:
        return _fidelity_by_run(table)
    columns = list(SHOWN[name])
    columns = columns[: columns.index("|")] if printed and "|" in columns else [key for key in columns if key != "|"]
    model = [("model", "model", "text")] if table["model"].nunique() > 1 else []
    shown = {}
    for column, heading, kind in model + [(key, *SHOWN[name][key]) for key in columns]:
        shown[heading] = _cells(table, column, kind)
    return pd.DataFrame(shown)


def _cells(table: pd.DataFrame, column: str, kind: str) -> list[str]:
    """A column as text, with its interval in brackets where there is one: "49.6 [45.1, 54.2]"."""
    values = [cell(value, kind) for value in table[column]]
    if f"{column}_low" not in table.columns:
        return values
    low, high = ([cell(value, kind) for value in table[f"{column}_{end}"]] for end in ("low", "high"))
    return [f"{v} [{a}, {b}]" if a and b else v for v, a, b in zip(values, low, high, strict=True)]


def cell(value: object, kind: str) -> str:
    return "" if pd.isna(value) else WRITTEN[kind](value)


def _benchmarks_by_run(table: pd.DataFrame) -> pd.DataFrame:
    """Runs down, benchmarks across, in percent with standard errors; an excluded benchmark bears a star."""
    ended = table[table["state"] == "end"]
    rows = []
    for model, scores in ended.groupby("model", sort=False):
        rule = scores.drop_duplicates("benchmark").set_index("benchmark")
        heads = {name: name if counts else f"{name}*" for name, counts in rule["counts"].items()}
        for known in ("chance", "floor"):
            cells = {heads[name]: cell(rule.loc[name, known], "percent") for name in heads}
            rows.append({"run": known, "model": model} | cells)
        for run, values in scores.groupby("run", sort=False):
            cells = {heads[v.benchmark]: f"{100 * v.value:.0f} ±{100 * v.stderr:.0f}" for v in values.itertuples()}
            rows.append({"run": run, "model": model} | cells)
    shown = pd.DataFrame(rows).fillna("")
    return shown.drop(columns="model") if ended["model"].nunique() < 2 else shown


def _budgets_by_set(table: pd.DataFrame) -> pd.DataFrame:
    """Deployments down, budgets across: recovered share in percent and the attack; a lower bound bears a sign."""
    keys = ["model"] * (table["model"].nunique() > 1) + ["deployment", "secured"]
    rows = table.sort_values(ORDER, key=by_number, kind="stable")
    heads = {"queries": "{} queries", "flops": "{} FLOPs"}
    rows["budget"] = [heads[row.measure].format(compact_count(row.budget)) for row in rows.itertuples()]
    rows["cell"] = [
        f"{'≥ ' * row.beyond}{100 * row.recovered:.1f} {row.attack}" if row.recovered else ""
        for row in rows.itertuples()
    ]
    shown = rows.pivot(index=keys, columns="budget", values="cell")[list(rows["budget"].unique())].fillna("")
    return shown.loc[rows.set_index(keys).index.unique()].reset_index()


def _fidelity_by_run(table: pd.DataFrame) -> pd.DataFrame:
    """Runs down, sets of prompts across: agreement after the attack, and how far greedy answers are the victim's."""
    keys = ["model", "run"] if table["model"].nunique() > 1 else ["run"]
    sets = list(table["prompts"].unique())
    columns = []
    for measure in ("agreement", "greedy_match", "common_prefix"):
        values = table.pivot(index=keys, columns="prompts", values=measure)[sets].dropna(axis=1, how="all")
        head = "" if measure == "agreement" else f"{SHOWN['fidelity'][measure][0].removesuffix(' %')}, "
        columns.append(values.add_prefix(head).add_suffix(" %"))
    shown = pd.concat(columns, axis=1).map(cell, kind="percent")
    return shown.loc[table.set_index(keys).index.unique()].reset_index()


def printed(made: dict[str, pd.DataFrame]) -> str:
    """The main tables for a terminal of WIDTH columns."""
    blocks = ["Paper said, we measured, verdict"]
    for row in made["claims"].itertuples():
        lines = [
            f"{row.verdict.upper()}: {row.claim} [{row.model}]",
            f"  paper: {row.paper_said}",
            f"  here:  {row.we_measured}",
        ]
        blocks.append("\n".join(filled(line, indent) for line, indent in zip(lines, (2, 9, 9), strict=True)))
    for name in ("claims", "attacks", "fidelity", "benchmarks", "search", "customization"):
        if not made[name].empty:
            grid = "" if name == "claims" else f"{name}\n{fitted(compact(name, made[name], printed=True))}\n"
            blocks.append(grid + filled(sentence(name, made[name])))
    return "\n\n".join(blocks)


def fitted(shown: pd.DataFrame) -> str:
    """A grid of WIDTH columns; what does not fit stands below, under the model and the run again."""
    keys = [name for name in shown.columns if name in ("model", "run")] or [shown.columns[0]]
    parts = [[]]
    for name in shown.columns.difference(keys, sort=False):
        if parts[-1] and max(map(len, grid_of(shown[[*keys, *parts[-1], name]]).splitlines())) > WIDTH:
            parts.append([])
        parts[-1].append(name)
    return "\n\n".join(grid_of(shown[keys + part]) for part in parts)


def grid_of(shown: pd.DataFrame) -> str:
    """Aligned columns: the first to the left, the others to the right."""
    first = shown.columns[0]
    width = shown[first].str.len().max()
    return (
        shown.assign(**{first: shown[first].str.ljust(width)})
        .rename(columns={first: first.ljust(width)})
        .to_string(index=False)
    )


def filled(text: str, indent: int = 0) -> str:
    """Broken into lines of WIDTH columns, never between a number and its percent sign."""
    text = text.replace(" %", "\0%")
    return textwrap.fill(text, WIDTH, subsequent_indent=" " * indent, break_on_hyphens=False).replace("\0", " ")
