"""How tables are shown to readers: headings, rounding, and one sentence that reads each with its own numbers."""

import math
import textwrap

import pandas as pd

from solid_utils import attack_cost, display_grid, verdicts
from solid_utils.ratios import EVALUATION
from solid_utils.wording import interval_note, percent, points

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


def _fidelity_by_run(table: pd.DataFrame) -> pd.DataFrame:
    """Runs down, sets of prompts across: agreement after the attack; and how far greedy answers are the victim's."""
    keys = ["model", "run"] if table["model"].nunique() > 1 else ["run"]
    sets = list(table["prompts"].unique())
    agreement = table.pivot(index=keys, columns="prompts", values="agreement")[sets].add_suffix(" %")
    answers = table[table["prompts"] == EVALUATION].set_index(keys)[["greedy_match", "common_prefix"]]
    answers.columns = [SHOWN["fidelity"][name][0] for name in answers]
    shown = agreement.join(answers).map(cell, kind="percent")
    return shown.loc[table.set_index(keys).index.unique()].reset_index()


def sentence(name: str, table: pd.DataFrame) -> str:
    """One sentence a model that reads a table with its own numbers."""
    parts = [f"{model}: {READINGS[name](rows)}" for model, rows in table.groupby("model", sort=False)]
    return " ".join(parts) or "Nothing there to show."


def _read_claims(rows: pd.DataFrame) -> str:
    counts = rows["verdict"].value_counts()
    found = [f"{counts.get(v, 0)} {v}" for v in (verdicts.SUPPORTED, verdicts.CONTRADICTED, verdicts.NOT_TESTED)]
    return f"{', '.join(found)}. Budget behind every line: {rows['budget'].iloc[0]}."


def _read_attacks(rows: pd.DataFrame) -> str:
    runs = rows[rows["recovered_share"].notna()]
    if runs.empty:
        return "no attack has run."
    low, high = runs.loc[runs["recovered_share"].idxmin()], runs.loc[runs["recovered_share"].idxmax()]
    most, least = percent(high["recovered_share"]), percent(low["recovered_share"])
    found = f"of the agreement that was missing, {high['run']} recovered most ({most}), {low['run']} least ({least})."
    return found + interval_note(rows)


def _read_fidelity(rows: pd.DataFrame) -> str:
    sets = rows[rows["prompts"] != "all"].groupby("prompts")["tokens"].max()
    listed = ", ".join(f"{name} ({count:.0f} answer tokens)" for name, count in sets.items())
    return f"agreement on held-out texts: {listed}; only {EVALUATION} is of the attack's kind."


def _read_ratios(rows: pd.DataFrame) -> str:
    domains = rows[rows["benchmark"] == "all"]
    if domains["chance_corrected_ratio"].notna().sum() == 0:
        return "no benchmark counts."
    best = domains.loc[domains["chance_corrected_ratio"].idxmax()]
    return (
        f"above chance most is kept in {best['domain']} by {best['run']}: "
        f"{percent(best['chance_corrected_ratio'])}. Rows of one benchmark rest on few items."
    )


def _read_benchmarks(rows: pd.DataFrame) -> str:
    rule = rows.drop_duplicates("benchmark")
    out = [f"{row.benchmark} ({row.reason})" for row in rule[~rule["counts"]].itertuples()]
    return (
        f"{rule['counts'].sum()} of {len(rule)} benchmarks count; left out of the averages: {'; '.join(out) or 'none'}."
    )


def _read_attack_cost(rows: pd.DataFrame) -> str:
    queries = rows[(rows["measure"] == "queries") & (rows["level"] == rows["level"].min())]
    if queries.empty:
        return "no attack has run."
    reached = queries[~queries["censored"]]
    level, most = percent(queries["level"].iloc[0]), queries["cost"].max()
    lead = (
        f"{level} of what was missing was recovered, twice in a row, from {len(reached)} of {len(queries)} deployments"
    )
    return f"{lead}. {attack_cost.cap_sentence(reached['cost'].min() if len(reached) else most, reached.empty)}"


def _read_difficulty_ranks(rows: pd.DataFrame) -> str:
    known = rows.dropna(subset="spearman")
    if known.empty:
        return f"no correlation: {rows['censored'].max()} of at most {rows['sets'].max()} sets never reached the level."
    best = known.loc[known["spearman"].abs().idxmax()]
    found = f"{best['spearman']:.2f} over {best['sets']} secured sets"
    return f"{best['score']} ranks the cost in {best['measure']} best: {found}."


def _read_search(rows: pd.DataFrame) -> str:
    found = [
        f"start {row.start}: l* = {row.l_star}, DD {row.dd:.2f} against {(1 - row.epsilon) * row.ceiling:.2f} asked"
        for row in rows.itertuples()
    ]
    return "; ".join(found) + "."


def _read_difficulty(rows: pd.DataFrame) -> str:
    sets = rows[rows["kind"].isin(["prefix", "single"])]
    if sets.empty:
        return "no secured set was scored."
    low, high = sets.loc[sets["dd"].idxmin()], sets.loc[sets["dd"].idxmax()]
    reach = f"DD goes from {low['dd']:.2f} ({low['secured']}) to {high['dd']:.2f} ({high['secured']})"
    return f"{reach}; the victim has {low['victim']:.2f}."


def _read_customization(rows: pd.DataFrame) -> str:
    pooled = rows[(rows["benchmark"] == "all") & (rows["deployment"] != "fully_open")]
    gaps = [
        f"{row['deployment']} ends {points(row, 'gap_to_fully_open', 'gap_stderr')} points from fully open"
        for _, row in pooled.iterrows()
        if not math.isnan(row["gap_to_fully_open"])
    ]
    return "; ".join(gaps) + "." + interval_note(rows) if gaps else "nothing to compare with fully open."


READINGS = {
    "claims": _read_claims,
    "attacks": _read_attacks,
    "fidelity": _read_fidelity,
    "benchmarks": _read_benchmarks,
    "ratios": _read_ratios,
    "attack_cost": _read_attack_cost,
    "difficulty_ranks": _read_difficulty_ranks,
    "search": _read_search,
    "difficulty": _read_difficulty,
    "customization": _read_customization,
} | display_grid.READINGS


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
