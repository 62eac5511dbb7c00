"""The paper's claims against our tables: what it said, what we measured, and a verdict by a rule stated here.

Each rule is one function; its docstring is the rule as the report prints it. The rules are lopsided on purpose: an
attack that succeeds on a small budget shows that a set is not secure, one that fails shows nothing.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from solid_utils.metrics import intervals
from solid_utils.paper import paper
from solid_utils.report.results import prefix
from solid_utils.report.wording import correlated, percent, points, told

SUPPORTED = "supported at this scale"
CONTRADICTED = "contradicted at this scale"
NOT_TESTED = "not tested here"

RECOVERED = 0.25  # an attack that gets more than this of what was missing has broken a set
KEPT = 0.5  # a replica with at least this chance-corrected ratio has most of the victim
ERRORS = 3  # combined standard errors that make a difference
WITHIN = 0.04  # the paper's own margin for customization: "within 4 %"
FEWEST_SETS = 8  # a correlation over fewer secured sets is an anecdote; the paper has 29 to 33
EPSILONS = (0.05, 0.1, 0.2, 0.3, 0.5)
# Samples the paper's attackers train on: 51,000 for 5 epochs (FT), for 30 epochs (SEM); section B.2.
PAPER_SAMPLES = {"ft_all": 51_000 * 5, "ft_closed": 51_000 * 5, "sem": 51_000 * 30}
COLUMNS = ["model", "key", "claim", "source", "paper_said", "we_measured", "verdict", "rule", "budget"]
Finding = tuple[str, str]  # verdict, what we measured


@dataclass(frozen=True)
class Evidence:
    """The tables of one model."""

    attacks: pd.DataFrame  # runs scored before and after, without victim and guessing
    difficulty: pd.DataFrame
    search: pd.DataFrame  # indexed by start; the first one names the layers that the deployment `solid` secures
    customization: pd.DataFrame  # all kinds of problems together, indexed by deployment

    def run(self, attack: str, deployment: str) -> pd.Series | None:
        found = self.attacks[(self.attacks["attack"] == attack) & (self.attacks["deployment"] == deployment)]
        return None if found.empty else found.iloc[0]

    def on_solid(self, attack: str | None = None) -> pd.DataFrame:
        """Attack runs on the very layers that SOLID secures, whatever the deployment is called."""
        if self.search.empty:
            return self.attacks.head(0)
        mine = prefix(self.attacks) & (self.attacks["depth"] == self.search["l_star"].iloc[0])
        return self.attacks[mine & ((self.attacks["attack"] == attack) | (attack is None))]

    def dd(self, kind: str) -> pd.DataFrame:
        return self.difficulty[self.difficulty["kind"] == kind].sort_values("depth", kind="stable")


def of_budget(runs: pd.DataFrame) -> pd.Series:
    """Samples of each of the paper's attacks among the runs, as a share of the paper's; others have no such budget."""
    known = runs[runs["attack"].isin(PAPER_SAMPLES)]
    return known["samples"].astype(float) / known["attack"].map(PAPER_SAMPLES).astype(float)


def has_paper_budget(runs: pd.DataFrame) -> bool:
    """Did every run of the paper's attacks train on as many samples as the paper's, and was there one?"""
    shares = of_budget(runs)
    return len(shares) > 0 and bool((shares >= 1).all())


def warning(runs: pd.DataFrame) -> str:
    """The sentence without which a low score would be misread."""
    shares = of_budget(runs)
    if shares.empty:
        return " None of the paper's attacks: a low score here is no proof of security."
    if has_paper_budget(runs):
        return ""
    return f" Trained on {100 * shares.max():.2g} % of the paper's samples: a low score here is no proof of security."


def darknetz(evidence: Evidence) -> Finding:
    """Supported when FT-all on the last layer ends with a chance-corrected ratio of 50 % or more. A lower one
    contradicts the claim at the paper's budget only. FT-closed and SEM on this set: see the runs listed."""
    run = evidence.run("ft_all", "darknetz")
    if run is None:
        return NOT_TESTED, "no FT-all run on darknetz"
    measured = f"only FT-all is judged; {told(run)}."
    others = evidence.attacks[(evidence.attacks["deployment"] == "darknetz") & (evidence.attacks["attack"] != "ft_all")]
    measured += f" {'; '.join(told(other) for _, other in others.iterrows()) or 'FT-closed and SEM not run on it'}."
    if run["chance_corrected_ratio"] >= KEPT:
        return SUPPORTED, measured
    runs = run.to_frame().T
    return (CONTRADICTED if has_paper_budget(runs) else NOT_TESTED), measured + warning(runs)


def placement(evidence: Evidence) -> Finding:
    """Supported, as to security, when two FT-all runs of equal steps on equally many layers at different places end
    in agreements more than three combined standard errors apart. The transition layer and customization at other
    places are not part of the verdict."""
    runs = evidence.attacks.query("attack == 'ft_all'")
    runs = runs[runs["only_layers"].astype(bool)]
    for _, alike in runs.groupby(["depth", "steps"]):
        low, high = alike.loc[alike["agreement"].idxmin()], alike.loc[alike["agreement"].idxmax()]
        if low["secured"] != high["secured"]:
            apart = high["agreement"] - low["agreement"]
            far = apart > ERRORS * math.hypot(high["agreement_stderr"], low["agreement_stderr"])
            measured = f"only security is judged; {told(low)}; {told(high)}.{_extremes(evidence)}{warning(alike)}"
            return (SUPPORTED if far else NOT_TESTED), measured
    return NOT_TESTED, f"no two FT-all runs on equally many layers at different places.{_extremes(evidence)}"


def _extremes(evidence: Evidence) -> str:
    if (singles := evidence.dd("single")).empty:
        return ""
    low, high = singles.loc[singles["dd"].idxmin()], singles.loc[singles["dd"].idxmax()]
    return f" DD of one layer: {high['dd']:.2f} at {high['secured']}, {low['dd']:.2f} at {low['secured']}."


def size(evidence: Evidence) -> Finding:
    """Not tested: needs attacks of one budget, and customizations, on a series of nested secured sets."""
    if (prefixes := evidence.dd("prefix")).empty:
        return NOT_TESTED, "no runs on a series of sizes"
    first, last = prefixes.iloc[0], prefixes.iloc[-1]
    span = f"DD goes from {first['dd']:.2f} ({first['secured']}) to {last['dd']:.2f} ({last['secured']})"
    return NOT_TESTED, f"no runs on a series of sizes. {span}."


def solid_security(evidence: Evidence) -> Finding:
    """Contradicted when any attack on the layers SOLID secures recovers more than 25 % of the missing agreement
    (fidelity, on prompts like the attack's; the benchmarks stand beside it). Supported when none does, all at the
    paper's budget; else not tested."""
    if (runs := evidence.on_solid()).empty:
        return NOT_TESTED, "no attack on the layers that SOLID secures"
    worst = runs.loc[runs["recovered_share"].idxmax()]
    measured = f"only fidelity is judged; strongest attack: {told(worst)}; share secured {percent(worst['share'])}."
    secured = evidence.run("ft_all", "fully_secured")
    if secured is not None:
        measured += f" To compare: {told(secured)}."
    if worst["recovered_share"] > RECOVERED:
        return CONTRADICTED, measured
    return (SUPPORTED if has_paper_budget(runs) else NOT_TESTED), measured + warning(runs)


def solid_customization(evidence: Evidence) -> Finding:
    """The paper's margin, on point estimates: supported when SOLID ends at most 4 points below fully open,
    contradicted when it ends further below by more than three combined standard errors; else, or when fully open
    itself gains no more than two standard errors, not tested."""
    scores = evidence.customization
    if not {"fully_open", "solid"} <= set(scores.index):
        return NOT_TESTED, "needs a customization of fully_open and one of solid"
    opened, solid = scores.loc["fully_open"], scores.loc["solid"]
    measured = (
        f"{solid['metric']}: fully open {percent(opened['before'])} -> {percent(opened['after'])}, SOLID "
        f"{percent(solid['before'])} -> {percent(solid['after'])}; difference "
        f"{points(solid, 'gap_to_fully_open', 'gap_stderr')} points on {solid['n']:.0f} problems, one domain."
    )
    if not opened["gain"] > 2 * math.hypot(opened["stderr"], opened["before_stderr"]):
        return NOT_TESTED, measured + " Fully open gained too little to compare with."
    if solid["gap_to_fully_open"] >= -WITHIN:
        return SUPPORTED, measured
    below = -WITHIN - solid["gap_to_fully_open"] > ERRORS * solid["gap_stderr"]
    return (CONTRADICTED if below else NOT_TESTED), measured


def solid_layers(evidence: Evidence) -> Finding:
    """Supported when the search ends at one or two layers from every start that was tried, else contradicted."""
    if evidence.search.empty:
        return NOT_TESTED, "no SOLID search"
    measured = "; ".join(
        f"start {start}: l* = {row['l_star']}, DD {row['dd']:.2f} against {(1 - row['epsilon']) * row['ceiling']:.2f}"
        for start, row in evidence.search.iterrows()
    )
    return (SUPPORTED if (evidence.search["l_star"] <= 2).all() else CONTRADICTED), measured + "."


def difficulty_predicts(evidence: Evidence) -> Finding:
    """Needs eight secured sets or more, attacked by FT-all with equal steps: supported when Spearman's correlation
    of DD and ADR is -0.6 or below, else contradicted."""
    sets = with_difficulty(evidence.attacks, evidence.difficulty)
    sets = sets[sets["attack"] == "ft_all"].drop_duplicates("secured").set_index("run")
    sets = sets[sets["steps"] == sets["steps"].max()]
    dd, adr = sets["dd"].astype(float), sets["adr_mean_of_ratios"].astype(float)
    if len(sets) < 3 or adr.isna().any():
        return NOT_TESTED, f"{adr.notna().sum()} secured sets with a DD, an FT-all run and an ADR"
    spearman, pearson = intervals.spearman(dd, adr), intervals.pearson(dd, adr)
    measured = f"{len(sets)} secured sets: Spearman {correlated(spearman)}, Pearson {correlated(pearson)}."
    if len(sets) < FEWEST_SETS:
        return NOT_TESTED, measured + f" Fewer than {FEWEST_SETS} sets are an anecdote."
    return (SUPPORTED if spearman.estimate <= -0.6 else CONTRADICTED), measured


def with_difficulty(attacks: pd.DataFrame, difficulty: pd.DataFrame) -> pd.DataFrame:
    """Attack runs whose secured set has a DD, with it and its error; one model, the start the attacker used."""
    known = difficulty[difficulty["kind"] != "empty"].drop_duplicates(["secured", "start"])
    known = known.set_index(["secured", "start"])[["dd", "stderr"]]
    found = known.reindex(pd.MultiIndex.from_frame(attacks[["secured", "start"]])).to_numpy(float)
    return attacks.assign(dd=found[:, 0], dd_stderr=found[:, 1]).dropna(subset="dd")


def sem_at_chance(evidence: Evidence) -> Finding:
    """Contradicted when SEM on the layers SOLID secures recovers more than 25 % of the missing agreement (on prompts
    like the attack's) and keeps more than 25 % of the victim above chance (on benchmarks, the paper's measure).
    Supported when it does neither, at the paper's budget; else, or when the two disagree, not tested."""
    if (runs := evidence.on_solid("sem")).empty:
        return NOT_TESTED, "no SEM run on the layers that SOLID secures"
    best = runs.loc[runs["recovered_share"].idxmax()]
    measured = f"{told(best)}; the attacker sees {best['view']}."
    broken = best["recovered_share"] > RECOVERED, best["chance_corrected_ratio"] > RECOVERED
    if any(broken):
        return (CONTRADICTED, measured) if all(broken) else (NOT_TESTED, measured + " The two measures disagree.")
    return (SUPPORTED if has_paper_budget(runs) else NOT_TESTED), measured + warning(runs)


def epsilon(evidence: Evidence) -> Finding:
    """Supported, as to "hardly matters", when l* is the same for every tolerance tried (the sets are then the same);
    else not tested: other sets would have to be attacked and customized. That 0.05 is best is not tested."""
    prefixes = evidence.dd("prefix")
    if prefixes.empty or prefixes["ceiling"].isna().any():
        return NOT_TESTED, "no DD by prefix, or no ceiling"
    found = {value: l_star(prefixes, value) for value in EPSILONS}
    measured = 'only "hardly matters" is judged; l* by epsilon, from the DD curve: ' + ", ".join(
        f"{value}: {layers}" for value, layers in found.items()
    )
    return (SUPPORTED if len(set(found.values())) == 1 else NOT_TESTED), measured + "."


def l_star(prefixes: pd.DataFrame, tolerance: float) -> int:
    """Smallest prefix with DD >= (1 - tolerance) x ceiling, else the longest (paper 4.2); prefixes in order."""
    passing = prefixes[prefixes["dd"] >= (1 - tolerance) * prefixes["ceiling"]]
    return int((passing if len(passing) else prefixes.tail(1))["depth"].iloc[0])


def ceiling(evidence: Evidence) -> Finding:
    """Arithmetic on the paper's tables: supported when each printed ceiling lies nearer to ln V + 0.02^2 d / 2 than to
    the value of a Xavier head. Our own ceilings stand beside it."""
    found = paper.ceilings()
    off = {start: (found["printed"] - found[start]).abs() for start in ("normal_0.02", "xavier")}
    measured = (
        f"{len(found)} printed ceilings are off by {off['normal_0.02'].max():.2f} at most from the formula, "
        f"by {off['xavier'].min():.2f} at least from Xavier's."
    )
    ours = "; ".join(f"{start} {row['ceiling']:.2f}" for start, row in evidence.search.iterrows())
    nearer = bool((off["normal_0.02"] < off["xavier"]).all())
    return (SUPPORTED if nearer else CONTRADICTED), measured + (f" Ours: {ours}." if ours else "")


RULES: dict[str, Callable[[Evidence], Finding]] = {
    rule.__name__: rule
    for rule in (
        *(darknetz, placement, size, solid_security, solid_customization, solid_layers),
        *(difficulty_predicts, sem_at_chance, epsilon, ceiling),
    )
}


def evidence(made: dict[str, pd.DataFrame], model: str) -> Evidence:
    """One model's part of the tables that `catalogue.make` returns."""
    mine = {name: table[table["model"] == model] for name, table in made.items()}
    customization = mine["customization"]
    return Evidence(
        mine["attacks"].dropna(subset="recovered_share"),
        mine["difficulty"],
        mine["search"].set_index("start"),
        customization[customization["benchmark"] == "all"].drop_duplicates("deployment").set_index("deployment"),
    )


def budget(found: Evidence) -> str:
    """What stood behind every number of a model, in one line."""
    parts = []
    if len(everything := found.dd("all")):
        parts.append(f"{everything['parameters'].iloc[0] / 1e6:.3g} M parameters")
    if len(found.difficulty):
        parts.append(f"DD on {found.difficulty['n'].max():.0f} samples, {found.difficulty['seeds'].max():.0f} seeds")
    for attack, runs in found.attacks.groupby("attack", sort=False):
        steps = " to ".join(f"{value:.0f}" for value in sorted({runs["steps"].min(), runs["steps"].max()}))
        seeds = f"{runs['seeds'].max():.0f} seed(s)"
        part = "not in the paper"
        if attack in PAPER_SAMPLES:
            part = f"{100 * of_budget(runs).max():.2g} % of the paper's samples at most"
        parts.append(f"{attack} {steps} steps, {seeds}, {part}")
    return "; ".join(parts) or "no runs"


def claim_table(made: dict[str, pd.DataFrame], models: list[str]) -> pd.DataFrame:
    """Every claim of the paper for every model: paper said, we measured, verdict, rule, budget."""
    rows = []
    for model in models:
        found = evidence(made, model)
        for claim in paper.CLAIMS:
            rule = RULES[claim.key]
            verdict, measured = rule(found)
            if "tiny" in {*found.attacks["tier"], *found.difficulty["tier"]}:
                verdict, measured = NOT_TESTED, f"tier tiny proves the pipeline only; {measured}"
            text = " ".join(inspect.getdoc(rule).split())
            said = [claim.key, claim.text, claim.source, claim.published]
            rows.append([model, *said, measured, verdict, text, budget(found)])
    return pd.DataFrame(rows, columns=COLUMNS)
