"""The attacker's cost from a results folder: points of attack curves, the cost table, and how DD ranks it."""

import pandas as pd

from solid_utils.metrics import attack_cost, attack_trends
from solid_utils.metrics.attack_cost import ORDER, at_budgets, best_attacks, by_number
from solid_utils.report import floors
from solid_utils.report.ratios import EVALUATION, states
from solid_utils.report.results import prefix
from solid_utils.report.table import Columns, Context, Section, Table
from solid_utils.report.wording import percent

KEYS = ["model", "deployment", "secured", "attack", "recipe", "seed", "steps", *attack_cost.MEASURES]
BUDGETS = {"queries": (100, 400, 1600, 6400), "flops": (1e13, 1e14)}  # at which attacks are compared


def point_table(context: Context) -> pd.DataFrame:
    """Every attack run before any query and at its end, columns attack_cost.POINTS: only an end ends its schedule.

    Cells of the attack grid that share all but queries and seed are one run with several ends. Start and view stand in
    `recipe`, so that attacks that differ in them are different attacks.
    """
    results = context.results
    scores = pd.concat([part for part in (states(results.attacks), results.grid) if len(part)] or [results.grid])
    rows = scores[(scores["metric"] == "agreement") & (scores["benchmark"] == EVALUATION)]
    rows = rows.drop_duplicates(["model", "run", "seed", "steps"])  # each cell of a curve has its start
    rows["agreement"] = rows["value"].astype(float)
    rows["recipe"] = (
        rows["recipe"] + ", start " + rows["start"] + ", sees " + rows["view"].groupby(rows["run"]).transform("last")
    )
    first = rows[rows["steps"] == 0].set_index(["model", "run", "seed"])["agreement"].rename("start_agreement")
    rows = rows.join(first, on=first.index.names)
    rows["prefix"] = prefix(rows)
    rows = rows.join(_on_other_texts(scores), on=["model", "run", "seed", "steps"])
    start = rows[rows["steps"] == 0].set_index(["model", "run", "seed"])["agreement_apart"].rename("start_apart")
    rows = rows.join(start, on=start.index.names)
    return rows[POINT_TABLE].reset_index(drop=True)


OTHERS = [f"agreement{suffix}" for suffix in floors.TEXTS if suffix]
POINT_TABLE = [*attack_cost.POINTS, *OTHERS, "start_apart"]


def _on_other_texts(scores: pd.DataFrame) -> pd.DataFrame:
    """Columns OTHERS by model, run, seed and steps: agreement on web text, on code, on all, on all but the own kind."""
    keys = ["model", "run", "seed", "steps"]
    rows = scores[(scores["metric"] == "agreement") & (scores["domain"] == "fidelity")]
    rows = rows.drop_duplicates([*keys, "benchmark"])
    found = {}
    for key, mine in rows.groupby(keys, sort=False):
        found[key] = [floors.on_sets(mine, "agreement", sets) for suffix, sets in floors.TEXTS.items() if suffix]
    index = pd.MultiIndex.from_tuples(found, names=keys) if found else pd.MultiIndex.from_arrays([[]] * 4, names=keys)
    return pd.DataFrame(list(found.values()), index=index, columns=OTHERS)


def cost_table(context: Context) -> pd.DataFrame:
    """What each level of recovery costs, deployment by deployment; attack_cost.cost_table."""
    return attack_cost.cost_table(attack_cost.costs(attack_cost.judged(context.table("attack_points"))))


def budget_table(context: Context) -> pd.DataFrame:
    """The most recovered from each deployment at equal budgets, by whichever attack; attack_cost.best_attacks."""
    points = attack_cost.judged(context.table("attack_points"))
    return pd.concat([best_attacks(at_budgets(points, *pair)) for pair in BUDGETS.items()], ignore_index=True)


def query_table(context: Context) -> pd.DataFrame:
    """What attackers asked: sequences, their tokens, and the numbers that each token brought; columns QUERY_TABLE.

    One row an attack, view and count of queries, at the ends of runs and cells: on which layers it was makes no
    difference to what is asked. `tokens` is the mean over `runs`, of which each seed and secured set is one. `brought`
    is an upper bound for logits, which fine-tuning takes at answer tokens only.
    """
    results = context.results
    ends = pd.concat([part for part in (results.attacks, results.grid) if len(part)] or [results.grid])
    ends = ends[ends["queries"] > 0].drop_duplicates(["model", "run", "seed", "queries"])
    keys = ["model", "attack", "view", "numbers", "queries"]
    rows = ends.groupby(keys, as_index=False).agg(tokens=("tokens", "mean"), runs=("seed", "size"))
    rows["brought"] = rows["tokens"] * rows["numbers"]
    return rows[QUERY_TABLE]


QUERY_TABLE = ["model", "attack", "view", "queries", "tokens", "numbers", "brought", "runs"]
QUERY_COLUMNS: Columns = {
    "attack": ("attack", "text"),
    "view": ("trains on", "text"),
    "queries": ("sequences", "count"),
    "tokens": ("tokens", "count"),
    "numbers": ("numbers a token", "count"),
    "brought": ("numbers in all", "figures"),
    "runs": ("runs", "count"),
}


def _read_queries(rows: pd.DataFrame) -> str:
    """The fewest sequences that an attack asked, and what they brought; of several attacks the one that did so most."""
    least = rows[rows["queries"] == rows["queries"].min()]
    least = least.loc[least["runs"].idxmax()]
    return (
        f"{least['queries']:.0f} queries of {least['attack']} are {least['tokens']:,.0f} tokens of "
        f"{least['numbers']:,.0f} numbers each, {attack_cost.compact(least['brought'])} in all."
    )


def rank_table(context: Context) -> pd.DataFrame:
    """attack_trends.difficulty_ranks, under the first start that was scored for most sets."""
    return attack_trends.difficulty_ranks(context.table("attack_cost"), of_one_start(context.table("difficulty")))


def of_one_start(difficulty: pd.DataFrame) -> pd.DataFrame:
    """Rows of the table `difficulty` under the first start that was scored for most sets, one a secured set."""
    scored = difficulty[difficulty["start"] == difficulty["start"].mode().get(0)]
    return scored.drop_duplicates(["model", "secured"])


COST_COLUMNS: Columns = {
    "deployment": ("deployment", "text"),
    "secured": ("secured", "text"),
    "level": ("recovered %", "percent"),
    "measure": ("cost in", "text"),
    "attack": ("best attack", "text"),
    "cost": ("cost", "figures"),
    "censored": ("not reached with", "flag"),
    "at_most": ("or less", "flag"),
    "of_legitimate": ("of a legitimate epoch %", "percent"),
    "|": None,
    "recipe": ("recipe", "text"),
    "seeds": ("seeds", "count"),
}


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


def _budgets_by_set(table: pd.DataFrame, printed: bool) -> pd.DataFrame:
    """Deployments down, budgets across: recovered share in percent and the attack; a lower bound bears a sign."""
    keys = ["model"] * (table["model"].nunique() > 1) + ["deployment", "secured"]
    rows = table.sort_values(ORDER, key=by_number, kind="stable")
    heads = {"queries": "{} queries", "flops": "{} FLOPs"}
    rows["budget"] = [heads[row.measure].format(attack_cost.compact(row.budget)) for row in rows.itertuples()]
    rows["cell"] = [
        f"{'≥ ' * row.beyond}{100 * row.recovered:.1f} {row.attack}" if row.recovered else ""
        for row in rows.itertuples()
    ]
    shown = rows.pivot(index=keys, columns="budget", values="cell")[list(rows["budget"].unique())].fillna("")
    return shown.loc[rows.set_index(keys).index.unique()].reset_index()


def _read_attack_budgets(rows: pd.DataFrame) -> str:
    """The deployments that give most and least at the largest budget of queries that every one of them was given."""
    given = rows[(rows["measure"] == "queries") & (rows["attack"] != "none")]
    if given.empty:
        return "no attack has run."
    sets = given.groupby("budget")["secured"].nunique()
    budget = sets[sets == sets.max()].index.min()
    at = given[given["budget"] == budget]
    most, least = at.loc[at["recovered"].idxmax()], at.loc[at["recovered"].idxmin()]
    ends = [f"{percent(row['recovered'])} of {row['secured']} (by {row['attack']})" for row in (most, least)]
    return f"with {attack_cost.compact(budget)} queries attacks recovered from {ends[1]} to {ends[0]}."


RANK_COLUMNS: Columns = {
    "level": ("recovered %", "percent"),
    "measure": ("cost in", "text"),
    "score": ("ranked by", "text"),
    "sets": ("sets", "count"),
    "censored": ("not reached", "count"),
    "spearman": ("Spearman", "number"),
    "pearson": ("Pearson", "number"),
}


def _read_difficulty_ranks(rows: pd.DataFrame) -> str:
    known = rows.dropna(subset="spearman")
    if known.empty:
        return f"no correlation: {rows['censored'].max()} of at most {rows['sets'].max()} sets never reached the level."
    best = known.loc[known["spearman"].abs().idxmax()]
    how = f"{best['spearman']:.2f} over {best['sets']} secured sets"
    return f"{best['score']} ranks the cost in {best['measure']} best: {how}."


SECTION = Section(
    "cost",
    "What theft costs",
    (
        "The cost of recovering a share of what was missing on web text and code, which no attack here asks for: that "
        "of the first of two consecutive points of a "
        "curve past it, where every point ends its own schedule. Not reached: the most that was spent is a lower "
        "bound. Or less: the smallest budget that was run reached it already, so the cost is an upper bound. A run of "
        "the small tier has one such point, so all its levels are lower bounds, however far it "
        "came.",
    ),
    (
        Table("attack_points", point_table),
        Table("attack_cost", cost_table, COST_COLUMNS, _read_attack_cost),
        Table(
            "attack_budgets",
            budget_table,
            reads=_read_attack_budgets,
            show=_budgets_by_set,
            introduction="The same attacks at equal budgets: what was recovered in percent, and by which.",
        ),
        Table("queries", query_table, QUERY_COLUMNS, _read_queries, folded="What was asked, in tokens and numbers"),
        Table(
            "difficulty_ranks",
            rank_table,
            RANK_COLUMNS,
            _read_difficulty_ranks,
            folded="Does distillation difficulty rank the cost?",
        ),
    ),
)
