"""What a verdict may stand on: one model's tables, its words, and how much of the paper's budget was spent."""

from dataclasses import dataclass, field

import pandas as pd

from solid_utils.metrics import equivalence
from solid_utils.report.results import prefix
from solid_utils.report.tables.evidence import strongest
from solid_utils.report.wording import percent
from solid_utils.settings import places

SUPPORTED = "supported at this scale"
CONTRADICTED = "contradicted at this scale"
NOT_TESTED = "not tested here"

BROKEN = 0.25  # an attack that ends further than this above the floor, on texts apart, has broken a set
KEPT = 0.5  # a replica with at least this chance-corrected ratio has most of the victim
ERRORS = 3  # combined standard errors that make a difference
# Samples and optimizer steps of the paper's attackers: 51,000 for 5 epochs of batches of 128 (FT), for 30 epochs of
# batches of 32 (SEM); sections B.2 and B.4.
PAPER_SAMPLES = {"ft_all": 51_000 * 5, "ft_closed": 51_000 * 5, "sem": 51_000 * 30}
PAPER_STEPS = {"ft_all": 51_000 * 5 // 128, "ft_closed": 51_000 * 5 // 128, "sem": 51_000 * 30 // 32}


DECIDED = (equivalence.EQUIVALENT, equivalence.WORSE, equivalence.BETTER)


def bottom(layers: int) -> str:
    """The declaration of so many bottom layers, as cells call it."""
    return places.concrete(f"prefix {layers}", layers)


@dataclass(frozen=True)
class Finding:
    """A verdict, what we measured, and the runs and grid cells that it stands on."""

    verdict: str
    measured: str
    cells: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Evidence:
    """The tables of one model."""

    attacks: pd.DataFrame  # runs of the default study scored before and after, without victim and guessing
    ends: pd.DataFrame  # the table `evidence`: every attack that ended, wherever it ran
    difficulty: pd.DataFrame
    search: pd.DataFrame  # indexed by start; the first one names the layers that the deployment `solid` secures
    customization: pd.DataFrame  # all kinds of problems together, indexed by deployment
    cells: pd.DataFrame = field(default_factory=pd.DataFrame)  # the table `equivalence`: customization cells

    def run(self, attack: str, deployment: str) -> pd.Series | None:
        """A run of the default study."""
        found = self.attacks[(self.attacks["attack"] == attack) & (self.attacks["deployment"] == deployment)]
        return None if found.empty else found.iloc[0]

    def on_solid(self, attack: str | None = None) -> pd.DataFrame:
        """Ends of attacks on the very layers that SOLID secures, whatever the deployment is called.

        None that began at a public base or at what another attack left: these are other attackers.
        """
        if self.search.empty:
            return self.ends.head(0)
        mine = self.ends["prefix"].astype(bool) & (self.ends["depth"] == self.search["l_star"].iloc[0])
        mine &= self.ends["start"] != "public_base"
        return self.ends[mine & ((self.ends["attack"] == attack) | (attack is None))]

    def benchmarks_on_solid(self, attack: str) -> pd.DataFrame:
        """Runs of the default study on SOLID's layers: they alone have benchmarks."""
        if self.search.empty:
            return self.attacks.head(0)
        mine = prefix(self.attacks) & (self.attacks["depth"] == self.search["l_star"].iloc[0])
        return self.attacks[mine & (self.attacks["attack"] == attack)]

    def customized_solid(self, fewest: int) -> pd.DataFrame:
        """Customization cells of SOLID's layers that at least so many items decided: rows of `equivalence`."""
        if self.search.empty or self.cells.empty:
            return self.cells.head(0)
        rows = self.cells[self.cells["deployment"] == bottom(int(self.search["l_star"].iloc[0]))]
        return rows[rows["equivalence"].isin(DECIDED) & (rows["n"] >= fewest)]

    def dd(self, kind: str) -> pd.DataFrame:
        return self.difficulty[self.difficulty["kind"] == kind].sort_values("depth", kind="stable")


def level(rows: pd.DataFrame) -> pd.Series:
    """What BROKEN is asked of: the share above the floor on texts apart; where no floor was counted, nan."""
    return rows["above_floor_apart"].astype(float)


def best_of_each(rows: pd.DataFrame) -> pd.DataFrame:
    """The strongest attack of each kind, whatever it asked."""
    return strongest(rows, ["attack"])


def ended(row: pd.Series) -> str:
    """One end in a few words and numbers."""
    if pd.isna(row["above_floor_apart"]):
        above = "no floor was counted"
    else:
        above = f"floor there {percent(row['floor_apart'])}, above it {percent(row['above_floor_apart'])}"
    return (
        f"{row['attack']} on {row['secured']} with {row['queries']:.0f} queries, {row['steps']:.0f} steps, seed "
        f"{row['seed']}: agrees on {percent(row['agreement'])} of its own kind, {percent(row['agreement_apart'])} of "
        f"other texts ({above})"
    )


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
    known = runs[runs["attack"].isin(PAPER_STEPS)]
    longest = known.loc[known["steps"].astype(float).idxmax()]
    return (
        f" At most {100 * shares.max():.2g} % of the paper's samples, {longest['steps']:.0f} steps of "
        f"{longest['attack']} for its {PAPER_STEPS[longest['attack']]:,}: a low score here is no proof of security."
    )
