"""Rules on what attacks reach: each function is a rule; its docstring is the rule as the report prints it."""

import math

import pandas as pd

from solid_utils.metrics import intervals, metrics
from solid_utils.report import evidence
from solid_utils.report.evidence import (
    BROKEN,
    CONTRADICTED,
    ERRORS,
    KEPT,
    NOT_TESTED,
    SUPPORTED,
    Evidence,
    Finding,
    ended,
    has_paper_budget,
    warning,
)
from solid_utils.report.wording import correlated, percent, told

FEWEST_SETS = 8  # a correlation over fewer secured sets is an anecdote; the paper has 29 to 33
STRONG = 0.6  # of a rank correlation that "strongly" would need


def darknetz(found: Evidence) -> Finding:
    """Supported when FT-all on the last layer ends with a chance-corrected ratio of 50 % or more. A lower one
    contradicts the claim at the paper's budget only. The strongest attack of every other kind on this set is listed."""
    run = found.run("ft_all", "darknetz")
    if run is None:
        return Finding(NOT_TESTED, "no FT-all run on darknetz")
    others = found.ends[(found.ends["secured"] == run["secured"]) & (found.ends["attack"] != "ft_all")]
    best = evidence.best_of_each(others)
    listed = "; ".join(ended(row) for _, row in best.iterrows())
    missing = [name for name in ("ft_closed", "sem") if name not in set(best["attack"])]
    gone = f" Not run on it: {', '.join(missing)}." if missing else ""
    measured = f"only FT-all is judged; {told(run)}.{f' Others: {listed}.' if listed else ''}{gone}"
    names = [run["run"], *best["name"]]
    if run["chance_corrected_ratio"] >= KEPT:
        return Finding(SUPPORTED, measured, names)
    runs = run.to_frame().T
    return Finding(CONTRADICTED if has_paper_budget(runs) else NOT_TESTED, measured + warning(runs), names)


def placement(found: Evidence) -> Finding:
    """Supported, as to security, when two FT-all runs of equal recipe and steps on equally many layers at different
    places end, on texts apart, in agreements more than three combined standard errors apart. The transition layer and
    customization at other places are not part of the verdict."""
    runs = found.ends[(found.ends["attack"] == "ft_all") & found.ends["only_layers"].astype(bool)]
    runs = runs.dropna(subset=["agreement_apart", "stderr_apart"])
    widest = None
    for _, alike in runs.groupby(["source", "depth", "steps", "queries", "recipe"], dropna=False):
        low, high = (alike.loc[place(alike["agreement_apart"])] for place in (pd.Series.idxmin, pd.Series.idxmax))
        apart = high["agreement_apart"] - low["agreement_apart"]
        if low["secured"] != high["secured"] and (widest is None or apart > widest[0]):
            widest = apart, low, high, alike
    if widest is None:
        return Finding(NOT_TESTED, f"no two FT-all runs on equally many layers at different places.{_extremes(found)}")
    apart, low, high, alike = widest
    far = apart > ERRORS * math.hypot(high["stderr_apart"], low["stderr_apart"])
    measured = f"only security is judged; {ended(low)}; {ended(high)}.{_extremes(found)}{warning(alike)}"
    return Finding(SUPPORTED if far else NOT_TESTED, measured, [low["name"], high["name"]])


def _extremes(found: Evidence) -> str:
    if (singles := found.dd("single")).empty:
        return ""
    low, high = singles.loc[singles["dd"].idxmin()], singles.loc[singles["dd"].idxmax()]
    return f" DD of one layer: {high['dd']:.2f} at {high['secured']}, {low['dd']:.2f} at {low['secured']}."


def size(found: Evidence) -> Finding:
    """Not tested as a whole: needs attacks of one budget, and customizations, on a series of nested secured sets. The
    attacks are shown where one kind ran at one budget on the most bottom sets."""
    runs = found.ends[found.ends["prefix"].astype(bool)].dropna(subset="agreement_apart")
    families = [mine for _, mine in runs.groupby(["source", "attack", "recipe", "queries", "seed"], dropna=False)]
    families = [mine.drop_duplicates("depth").sort_values("depth") for mine in families]
    if not families or len(most := max(families, key=len)) < 3:
        return Finding(NOT_TESTED, "no attack of one budget on three bottom sets or more")
    first = most.iloc[0]
    told_by = ", ".join(f"{row.secured} {percent(row.agreement_apart)}" for row in most.itertuples())
    measured = (
        f"security only: {first['attack']} with {first['queries']:.0f} queries agrees on texts apart: {told_by} (floor "
        f"{percent(first['floor_apart'])}). No customizations on a series of sizes."
    )
    return Finding(NOT_TESTED, measured, list(most["name"]))


def solid_security(found: Evidence) -> Finding:
    """Contradicted when any attack on the layers SOLID secures, wherever it ran, ends more than 25 % above the floor on
    texts apart from its own kind. Supported when none does, all at the paper's budget; else not tested. Judged on
    next-token agreement, teacher-forced; no benchmark is part of this verdict."""
    runs = found.on_solid().dropna(subset="above_floor_apart")
    if runs.empty:
        return Finding(NOT_TESTED, "no attack on the layers that SOLID secures, scored on texts with a floor")
    best = evidence.best_of_each(runs).sort_values("above_floor_apart", ascending=False)
    measured = f"strongest of each kind: {'; '.join(ended(row) for _, row in best.iterrows())}."
    whole = found.ends[(found.ends["deployment"] == "fully_secured")]
    names = list(best["name"])
    if len(whole):
        compared = evidence.best_of_each(whole).iloc[0]
        measured += f" To compare, all secured: {ended(compared)}."
        names.append(compared["name"])
    if (evidence.level(runs) > BROKEN).any():
        return Finding(CONTRADICTED, measured, names)
    return Finding(SUPPORTED if has_paper_budget(runs) else NOT_TESTED, measured + warning(runs), names)


def at_chance(found: Evidence, attack: str) -> Finding:
    """What `ft_closed_at_chance` and `sem_at_chance` ask."""
    runs = found.on_solid(attack)
    if runs.empty:
        return Finding(NOT_TESTED, f"no {attack} run on the layers that SOLID secures")
    best = evidence.best_of_each(runs).iloc[0]
    scored = found.benchmarks_on_solid(attack).dropna(subset="chance_corrected_ratio")
    names, measured = [best["name"]], f"{ended(best)}; it trains on {best['view'].split(';')[0]}."
    ratio = None
    if len(scored):
        run = scored.loc[scored["chance_corrected_ratio"].idxmax()]
        ratio, names = run["chance_corrected_ratio"], [*names, run["run"]]
        measured += f" Benchmarks: {told(run)}."
    by_fidelity = bool(best["above_floor_apart"] > BROKEN)
    by_benchmarks = ratio is not None and bool(ratio > BROKEN)
    if by_fidelity and by_benchmarks:
        return Finding(CONTRADICTED, measured, names)
    if by_fidelity or by_benchmarks:
        return Finding(NOT_TESTED, measured + " The two measures disagree, or only one was taken.", names)
    supported = has_paper_budget(runs) and ratio is not None and not pd.isna(best["above_floor_apart"])
    return Finding(SUPPORTED if supported else NOT_TESTED, measured + warning(runs), names)


def ft_closed_at_chance(found: Evidence) -> Finding:
    """As for SEM: contradicted when FT-closed on the layers SOLID secures ends more than 25 % above the floor on texts
    apart, and keeps more than 25 % of the victim above chance on benchmarks. Supported when it does neither, at the
    paper's budget; else not tested."""
    return at_chance(found, "ft_closed")


def sem_at_chance(found: Evidence) -> Finding:
    """Contradicted when SEM on the layers SOLID secures ends, wherever it ran, more than 25 % above the floor on texts
    apart, and a run with benchmarks (the paper's measure) keeps more than 25 % of the victim above chance. Supported
    when it does neither, at the paper's budget; else, or when the two disagree, not tested."""
    return at_chance(found, "sem")


def difficulty_predicts(found: Evidence) -> Finding:
    """Needs eight secured sets or more that have a DD and were attacked by one of the paper's attacks at one budget:
    supported when DD's rank correlation with the final agreement is -0.6 or below and with the final KL 0.6 or above,
    on texts apart; contradicted when neither is; else not tested. Depth alone and what agrees without a query stand
    beside it: a score that they match adds nothing."""
    sets = attacked_sets(found)
    if len(sets) < 3:
        return Finding(NOT_TESTED, f"{len(sets)} secured sets with a DD and an attack at one budget")
    first = sets.iloc[0]
    dd, final = sets["dd"].astype(float), sets["agreement_apart"].astype(float)
    by_agreement, by_kl = intervals.spearman(dd, final), intervals.spearman(dd, sets["kl_apart"].astype(float))
    own = metrics.spearman(dd, sets["agreement"].astype(float)), metrics.spearman(dd, sets["kl"].astype(float))
    depth = metrics.spearman(sets["depth"].astype(float), final)
    zero = metrics.spearman(sets["start_apart"].astype(float), final)
    measured = (
        f"{first['attack']}, {first['queries']:.0f} queries, one seed, {len(sets)} sets, Spearman on texts apart: DD "
        f"with the final agreement {correlated(by_agreement)}, with the final KL {correlated(by_kl)} (own kind "
        f"{own[0]:.2f}, {own[1]:.2f}); with the final agreement depth alone {depth:.2f}, agreement without a query "
        f"alone {zero:.2f}."
    )
    names = list(sets["name"])
    if len(sets) < FEWEST_SETS:
        return Finding(NOT_TESTED, measured + f" Fewer than {FEWEST_SETS} sets are an anecdote.", names)
    passed = by_agreement.estimate <= -STRONG, by_kl.estimate >= STRONG
    verdict = SUPPORTED if all(passed) else NOT_TESTED if any(passed) else CONTRADICTED
    return Finding(verdict, measured, names)


def attacked_sets(found: Evidence) -> pd.DataFrame:
    """Of the paper's attacks the family of one recipe, start, budget and seed on the most sets that have a DD."""
    known = found.difficulty[found.difficulty["kind"] != "empty"].drop_duplicates(["secured", "start"])
    mine = found.ends[found.ends["attack"].isin(evidence.PAPER_SAMPLES)]
    mine = mine.dropna(subset=["agreement_apart", "kl_apart"])
    mine = mine.merge(known[["secured", "start", "dd"]], on=["secured", "start"], suffixes=("", "_of"))
    # A default run on `solid` and a declared set on the same layers are one set: the same layers are secret.
    keys = ["source", "attack", "recipe", "start", "queries", "seed"]
    families = [rows.drop_duplicates("secured") for _, rows in mine.groupby(keys, dropna=False, sort=False)]
    return max(families, key=len, default=mine)
