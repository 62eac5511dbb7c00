"""What securing a set costs the customer, beside what the strongest attack on that set got: the paper's trade-off."""

import math

import pandas as pd

from solid_utils.report import customers, paper_customized
from solid_utils.report.depths import depths
from solid_utils.report.table import Columns, Context, Table
from solid_utils.report.tables import equivalence
from solid_utils.report.wording import percent

NOT_RUN = "not run"
CUSTOMER = ["n", "seeds", "open", "after", "gap", "gap_low", "gap_high", "equivalence", "interval_covers"]
THIEF = ["attack", "attack_from", "attack_recipe", "queries", "above_floor_apart"]
PAPER = ["paper_gap", "paper_gap_of", "paper_ratio", "paper_ratio_of"]
SET = ["deployment", "secured", "share", "depth", "lowest"]
COLUMNS = ["model", "machine", "part", "run", "trained_on", *SET, *CUSTOMER, *THIEF, *PAPER]
SAME = ["model", "secured", "noisy"]  # attacks and customizations on one deployment
CURVE = [*SAME, "attack", "attack_from", "attack_recipe", "queries"]


def trade_off_table(context: Context) -> pd.DataFrame:
    """One row a group and run of customization cells that stand beside a fully open one; see `made`."""
    found = attacked(context.table("evidence"), context.table("scale"))
    return made(customers.load(), context.table("equivalence"), found, depths(context.table("difficulty")))


def attacked(evidence: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """What attacks got, columns CURVE and `above_floor_apart`, a mean over seeds; from the tables of these names.

    Not those that began at a public base: that is another attacker. The scale study's: mean of web text and code.
    """
    ours = evidence[evidence["start"] != "public_base"]
    ours = ours.assign(
        noisy=ours["deployment"] == "sap_dp",
        attack_from=ours["source"],
        attack_recipe=ours["recipe"].fillna("").astype(str),
    )
    scaled = points.assign(
        noisy=False,
        attack_from="scale",
        attack_recipe=points["recipe"],
        above_floor_apart=points[["c4_above", "code_above"]].astype(float).mean(axis=1),
    )
    whole = pd.concat([part[[*CURVE, "above_floor_apart"]].astype(object) for part in (ours, scaled)])
    whole["above_floor_apart"] = whole["above_floor_apart"].astype(float)
    return whole.groupby(CURVE, sort=False)["above_floor_apart"].mean().reset_index()


def made(cells: customers.Cells, judged: pd.DataFrame, attacks: pd.DataFrame, layers: dict[str, int]) -> pd.DataFrame:
    """The table from customization cells, the table `equivalence`, `attacked`, and layers by model as far as known;
    planned runs without cells too."""
    right = judged[judged["metric"] == "right"].set_index(["model", "machine", "run"])
    facts = cells.scores.drop_duplicates(["model", "machine", "run"]).set_index(["model", "machine", "run"])
    rows = []
    planned = cells.planned.drop_duplicates(["model", "machine", "group", "run"])
    for plan in planned.itertuples():
        key = (plan.model, plan.machine, plan.run)
        row = {"model": plan.model, "machine": plan.machine, "part": plan.group, "run": plan.run}
        row |= {"trained_on": plan.domain, "deployment": plan.secured}
        if key not in right.index:
            if plan.secured != equivalence.OPEN:
                rows.append(row | {"secured": plan.secured, "equivalence": NOT_RUN})
            continue
        if math.isnan(right.loc[key, "gap"]):  # fully open itself, or nothing to compare with
            continue
        own = facts.loc[key]
        row |= {name: own[name] for name in SET[1:]} | customer(right.loc[key])
        row |= strongest(attacks, plan.model, own["secured"], plan.secured == "sap_dp")
        rows.append(row | papers(row, layers.get(plan.model)))
    return pd.DataFrame(rows, columns=COLUMNS)


def customer(judged: pd.Series) -> dict:
    """The columns CUSTOMER of a row of `equivalence`."""
    kept = {name: judged[name] for name in CUSTOMER if name != "open"}
    return kept | {"open": judged["after"] - judged["gap"]}


def strongest(attacks: pd.DataFrame, model: str, secured: str, noisy: bool) -> dict:
    """The columns THIEF: the attack that got most of this set, whatever it asked; nothing where none ran."""
    mine = attacks[(attacks["model"] == model) & (attacks["secured"] == secured) & (attacks["noisy"] == noisy)]
    mine = mine.dropna(subset="above_floor_apart")
    return mine.loc[mine["above_floor_apart"].idxmax(), THIEF].to_dict() if len(mine) else {}


def papers(row: dict, layers: int | None) -> dict:
    """The columns PAPER: what the paper prints of the nearest set; none where that hangs on a depth nobody knows."""
    bottom = row["lowest"] == 0
    part = row["part"]
    share, place = row["share"], 0.0
    if row["depth"] and layers:
        share, place = row["depth"] / layers, row["lowest"] / max(1, layers - row["depth"])
    elif row["depth"] and part in paper_customized.BY_DEPTH:
        return {}
    gap, gap_of = paper_customized.gap(part, row["trained_on"], row["deployment"], bottom, share)
    ratio, ratio_of = paper_customized.ratio(part, row["deployment"], bottom, place, share)
    return {"paper_gap": gap, "paper_gap_of": gap_of, "paper_ratio": ratio, "paper_ratio_of": ratio_of}


TRADE_OFF_COLUMNS: Columns = {
    "part": ("group", "text"),
    "trained_on": ("domain", "text"),
    "secured": ("secured", "text"),
    "n": ("n", "count"),
    "after": ("after %", "percent"),
    "gap": ("gap to fully open %", "percent"),
    "equivalence": ("verdict", "text"),
    "above_floor_apart": ("strongest attack, above floor %", "percent"),
    "|": None,
    "attack": ("attack", "text"),
    "queries": ("queries", "count"),
    "paper_gap": ("paper: gap %", "percent"),
    "paper_ratio": ("paper: ratio of FT-all %", "percent"),
}


def _read(rows: pd.DataFrame) -> str:
    """The set that customizes worst, the one that is stolen most, what did not run."""
    there = rows[rows["equivalence"] != NOT_RUN]
    missing = (rows["equivalence"] == NOT_RUN).sum()
    lacking = f" {missing} of {len(rows)} planned runs have no cells yet." if missing else ""
    if there.empty:
        return f"no customization cell stands beside a fully open one yet.{lacking}"
    worst = there.loc[there["gap"].astype(float).idxmin()]
    told = f"furthest from fully open is {worst['secured']} on {worst['trained_on']} ({percent(worst['gap'])})"
    stolen = there.dropna(subset="above_floor_apart")
    if len(stolen):
        most = stolen.loc[stolen["above_floor_apart"].astype(float).idxmax()]
        least = stolen.loc[stolen["above_floor_apart"].astype(float).idxmin()]
        told += f"; stolen most {most['secured']} ({percent(most['above_floor_apart'])} above the floor), least "
        told += f"{least['secured']} ({percent(least['above_floor_apart'])})"
    return f"{told}.{lacking}"


TABLE = Table(
    "trade_off",
    trade_off_table,
    TRADE_OFF_COLUMNS,
    _read,
    introduction="Customization cells beside the strongest attack that ran on the same set, wherever it ran, above "
    "what public text gives on web text and code. The paper's numbers are of its own models, on the nearest set that "
    "it prints: its gap to fully open, and its average ratio of FT-all, which is another measure than ours.",
)
