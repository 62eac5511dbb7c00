"""What a running deployment costs, beside securing everything, and what defences at its boundary take from attacks."""

import numpy as np
import pandas as pd

from solid_utils.core import schema
from solid_utils.metrics import intervals
from solid_utils.metrics.attack_cost import compact
from solid_utils.paper.confidential import OVERHEADS
from solid_utils.report.ratios import EVALUATION, with_ends
from solid_utils.report.table import Columns, Context, Section, Table, in_columns
from solid_utils.report.wording import between, percent

WHOLE = "all"  # the set that secures everything
NONE = "none"  # attack of the rows of the customer's own model; rounding of a boundary without a defence
FACTS = ["model", "secured", "rounding", "noise", "attack", "adapts"]


def deployed_table(context: Context) -> pd.DataFrame:
    """schema.DEPLOYED as notebook 06 counted it, and `flops_of_all`: FLOPs inside beside those where all is secured."""
    rows = context.results.deployed.copy()
    whole = rows[rows["secured"] == WHOLE].set_index(["model", "work"])["flops_inside"]
    keys = pd.MultiIndex.from_frame(rows[["model", "work"]])
    rows["flops_of_all"] = rows["flops_inside"].astype(float) / whole.reindex(keys).to_numpy(float)
    return rows[DEPLOYED]


DEPLOYED = [*schema.DEPLOYED, "flops_of_all"]
DEPLOYED_COLUMNS: Columns = {
    "work": ("work", "text"),
    "secured": ("secured", "text"),
    "pulls": ("gradients", "flag"),
    "secret_bytes": ("secret bytes", "figures"),
    "flops_inside": ("FLOPs inside a token", "figures"),
    "flops_of_all": ("of all %", "percent"),
    "sent": ("bytes sent a token", "count"),
    "received": ("received", "count"),
    "|": None,
    "share": ("parameters %", "percent"),
    "cache_bytes": ("keys and values a token", "count"),
}


def _deployed_by_work(rows: pd.DataFrame, printed: bool) -> pd.DataFrame:
    """A kind of work after the other, each by depth; gradients are asked in fine-tuning alone."""
    asked = rows["pulls"].astype(bool) & (rows["work"] == "fine-tuning")
    return in_columns(rows.assign(pulls=asked).sort_values(["model", "work"], kind="stable"), DEPLOYED_COLUMNS, printed)


def _read_deployed(rows: pd.DataFrame) -> str:
    """The least that was secured beside everything, in decode."""
    decode = rows[rows["work"] == "decode"]
    least = decode.loc[decode["secret_bytes"].astype(float).idxmin()]
    told = (
        f"with {least['secured']} secured a token of decode takes {compact(least['flops_inside'])} FLOPs inside and "
        f"{compact(least['sent'] + least['received'])} bytes across"
    )
    whole = decode[decode["secured"] == WHOLE]
    if whole.empty:
        return f"{told}."
    whole = whole.iloc[0]
    crossed = compact(whole["sent"] + whole["received"])
    return (
        f"{told}; with everything secured {compact(whole['flops_inside'])} and {crossed}, and "
        f"{compact(whole['secret_bytes'])} bytes of secrets in place of {compact(least['secret_bytes'])}."
    )


def defended_table(context: Context) -> pd.DataFrame:
    """A row a defence and attack, columns DEFENDED; intervals over held-out texts and seeds, all on the same draws."""
    rows = []
    for _, items in context.results.defended.groupby(["model", "secured"], sort=False):
        drawn = intervals.resample(as_items(items))
        for key, mine in items.groupby(FACTS, sort=False):
            rows.append(_defended(dict(zip(FACTS, key, strict=True)), mine, drawn))
    return pd.DataFrame(rows, columns=DEFENDED)


DEFENDED = [*FACTS, "askings", "queries", "tokens", "seeds", "n", *with_ends("agreement", "kl", "felt", "taken")]
DEFENDED += ["interval_covers"]


def as_items(items: pd.DataFrame) -> pd.DataFrame:
    """Texts as intervals.resample takes them: agreement pools tokens, KL is a mean over texts."""
    run = items[FACTS].astype(str).agg("|".join, axis=1)
    common = pd.DataFrame({"run": run, "state": "end", "seed": items["seed"], "item": items["item"]})
    agreement = common.assign(benchmark=EVALUATION, value=items["agreeing"], weight=items["weight"])
    return pd.concat([agreement, common.assign(benchmark="kl", value=items["kl"], weight=1)], ignore_index=True)


def _defended(facts: dict, mine: pd.DataFrame, drawn: dict[tuple[str, str], intervals.Resamples]) -> dict:
    """One row; what the defence takes is paired with the same attack, unadapted, without a defence."""

    def of(**other) -> intervals.Resamples | None:
        return drawn.get(("|".join(str(value) for value in (facts | other).values()), "end"))

    own, none = of(), {"rounding": NONE, "noise": 0.0, "adapts": "no"}
    first = mine.iloc[0]
    row = facts | {name: first[name] for name in ("askings", "queries", "tokens")}
    row |= {"seeds": mine["seed"].nunique(), "n": mine["item"].nunique(), "interval_covers": intervals.covers(own)}
    row |= _with_interval("agreement", own.scores.loc[EVALUATION]) | _with_interval("kl", own.scores.loc["kl"])
    customers = [of(attack=NONE, adapts="no"), of(attack=NONE, **none)]
    for name, pair in (("felt", customers), ("taken", [own, of(**none)] if facts["attack"] != NONE else [None])):
        if None not in pair:
            row |= _with_interval(name, pair[1].scores.loc[EVALUATION] - pair[0].scores.loc[EVALUATION])
    return row


def _with_interval(name: str, values: pd.Series) -> dict[str, float]:
    """An estimate and its 95 % interval, from (1 + times,) values, the sample first."""
    low, high = np.quantile(values.to_numpy(float)[1:], [0.025, 0.975])
    return {name: float(values.iloc[0]), f"{name}_low": float(low), f"{name}_high": float(high)}


DEFENDED_COLUMNS: Columns = {
    "secured": ("secured", "text"),
    "rounding": ("rounding", "text"),
    "noise": ("noise", "figures"),
    "attack": ("attack", "text"),
    "adapts": ("adapts", "text"),
    "queries": ("queries", "count"),
    "agreement": ("agreement %", "percent"),
    "felt": ("customer loses %", "percent"),
    "taken": ("attack loses %", "percent"),
    "|": None,
    "kl": ("KL", "number"),
    "tokens": ("tokens", "count"),
    "n": ("texts", "count"),
    "seeds": ("seeds", "count"),
}


def _read_defended(rows: pd.DataFrame) -> str:
    """The defence that takes most from the best attack of those who know of it, and what the customer feels of it."""
    attacks = rows[rows["attack"] != NONE]
    shown = attacks[(attacks["rounding"] != NONE) | (attacks["noise"].astype(float) > 0)]
    if shown.empty:
        return "no defence was attacked."
    best = shown.loc[shown.groupby(["secured", "rounding", "noise"], sort=False)["agreement"].idxmax()]
    most = best.loc[best["taken"].astype(float).idxmax()]
    how = f"noise {most['noise']:g}" if most["noise"] else most["rounding"]
    return (
        f"no defence takes more than {how}: the best attack through it, {most['attack']} ({most['adapts']}), still "
        f"agrees on {between(most, 'agreement')} of next tokens, having lost {between(most, 'taken')}, where the "
        f"customer loses {percent(most['felt'])}."
    )


PUBLISHED = "; ".join(f"{one.where}: {one.words} ({one.source})" for one in OVERHEADS)

SECTION = Section(
    "deployment",
    "A deployment that runs",
    (
        "What crosses between the customer and the secured part, and what is worked there, counted from shapes "
        "(notebook 06); and defences at the boundary, attacked by who knows of them.",
    ),
    (
        Table(
            "deployed",
            deployed_table,
            DEPLOYED_COLUMNS,
            _read_deployed,
            show=_deployed_by_work,
            introduction="By kind of work and depth; the last set of each secures everything. A token's share of whole "
            "frames and of a batch. What securing everything costs in time, published, not measured here: "
            f"{PUBLISHED}.",
        ),
        Table(
            "defended",
            defended_table,
            DEFENDED_COLUMNS,
            _read_defended,
            introduction="States are rounded, or given Gaussian noise, before they leave. Adapts: no; mean, of so many "
            "askings, each barely changed, so that noise is drawn anew; cells, where whatever rounds to what was shown "
            "is as good to the attacker. The customer's loss is of the model that he uses through the defence.",
        ),
    ),
)
