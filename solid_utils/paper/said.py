"""The paper's claims that this study re-executes, each with its numbers as the published tables print them."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from solid_utils.paper import paper

ADR = "average_distillation_ratio"
SEVENS = ("Llama2-7B", "Mistral-7B", "Phi-2", "Phi-1.5")
CUSTOMIZED = {"Llama2-70B": 17, "Llama2-7B": 18, "Mistral-7B": 19, "Phi-2": 20, "Phi-1.5": 21}


@dataclass(frozen=True)
class Claim:
    """A statement of the paper; `numbers` reads what it rests on from the published tables."""

    key: str
    text: str
    source: str
    numbers: Callable[[], str]

    @property
    def published(self) -> str:
        return self.numbers()


def adr(table: int, model: str, attack: str, secured: str) -> float:
    """A printed average distillation ratio, in percent."""
    return float(paper.summary(table, model, attack, secured)[ADR])


def _series(table: int, model: str, attack: str = "FT-all") -> pd.Series:
    """A table's printed ADRs by secured set, in its order."""
    rows = paper.result_table(table)
    mine = rows[(rows["model"] == model) & (rows["attack"] == attack) & (rows["row"] == ADR)]
    return mine.set_index("secured")["value"]


def _darknetz() -> str:
    ratios = paper.result_table(2)
    ratios = ratios[ratios["row"] == ADR].set_index(["attack", "secured"])["value"]
    last = _series(27, "Llama2-7B")["30"]
    return (
        f"ADR: Llama2-70B FT-closed {ratios['FT-closed', 'DarkneTZ']:.1f} %, SEM {ratios['SEM', 'DarkneTZ']:.1f} %, "
        f"fully secured {ratios['FT-closed', 'F-Secured']:.1f} %; Llama2-7B FT-all with the last pair {last:.2f} %"
    )


def _placement() -> str:
    low, high = _series(26, "Llama2-7B"), _series(27, "Llama2-7B").drop("*")
    phi = _series(30, "Phi-2")
    return (
        f"ADR: Llama2-7B {low.min():.2f} to {low.max():.2f} % for the lower half, {high.iloc[0]:.2f} to "
        f"{high.iloc[-1]:.2f} % for the upper; Phi-2 {phi.iloc[0]:.2f} % for the first pair, "
        f"{phi.iloc[1]:.2f} % for the next"
    )


def _size() -> str:
    grown = _series(34, "Llama2-7B")
    kept = paper.result_table(33)
    kept = kept[kept["model"] == "Llama2-7B"].set_index("secured")["value"]
    return (
        f"Llama2-7B: ADR {grown['0.25%']:.2f} % with a quarter of a percent secured, {grown['3%']:.2f} % with a layer; "
        f"GSM8K after customization {kept['0']:.2f} % with one layer secured, {kept['0-4']:.2f} % with five"
    )


def _solid_security() -> str:
    named = {"SOLID": "SOLID", "SAP-DP": "SAP-DP", "Fully-secured": "fully secured"}
    told = ", ".join(f"{text} {adr(14, 'Llama2-70B', 'FT-all', name):.2f} %" for name, text in named.items())
    return f"Llama2-70B, FT-all, ADR: {told}"


def _solid_customization() -> str:
    told = []
    for model, number in CUSTOMIZED.items():
        rows = paper.result_table(number)
        scores = rows[rows["row"] != "Alignment"].pivot(index="row", columns="secured", values="value")
        told.append(f"{model} {(scores['SOLID'] - scores['Fully-Open']).min():+.2f}")
    return f"SOLID less fully open, the worst of five domains, in points: {', '.join(told)}"


def _solid_layers() -> str:
    return (
        "in words: one layer for Llama2-70B (the tables show two), Llama2-7B and Mistral-7B; two for Phi-2 and Phi-1.5"
    )


def _correlations() -> str:
    rows = paper.published_table(11)
    rows = rows[rows["domain"] == "Avg"]
    told = "; ".join(f"{row.model} {row.spearman:.2f}, {row.pearson:.2f}" for row in rows.itertuples())
    return f"Spearman, Pearson: {told}"


def _at_chance(attack: str, table: int) -> str:
    ratios = {"Llama2-70B": adr(22, "Llama2-70B", attack, "SOLID")}
    ratios |= {model: adr(table, model, attack, "SOLID") for model in SEVENS}
    return "ADR: " + ", ".join(f"{model} {value:.2f} %" for model, value in ratios.items())


CLAIMS = [
    Claim(
        "darknetz",
        "Securing only the last decoder layer (DarkneTZ) protects against none of the three attacks.",
        "Observation 1; Tables 2 and 27 (Table 1 is not wholly readable)",
        _darknetz,
    ),
    Claim(
        "placement",
        "Where the secured layers lie decides security, with a transition layer, and hardly touches customization.",
        "Observation 2; Figure 4(a), Tables 26, 27 and 30",
        _placement,
    ),
    Claim(
        "size",
        "Securing more layers raises security and lowers customization.",
        "Observation 3; Figure 4(b), Tables 33 and 34",
        _size,
    ),
    Claim(
        "solid_security",
        "SOLID is as secure as the fully secured model while securing far fewer parameters.",
        "Observation 4; Tables 1, 2 and 14",
        _solid_security,
    ),
    Claim(
        "solid_customization",
        "SOLID customizes as well as the fully open model.",
        "Observation 5; Figure 5, Tables 17 to 21",
        _solid_customization,
    ),
    Claim("solid_layers", "SOLID secures the first one or two decoder layers.", "Sections 5.4 and B.7", _solid_layers),
    Claim(
        "difficulty_predicts",
        "Distillation difficulty predicts what an attack leaves: the two correlate strongly and negatively.",
        "Section B.9; Table 11, column Avg",
        _correlations,
    ),
    Claim(
        "ft_closed_at_chance",
        "Against SOLID the FT-closed attack ends at the level of guessing.",
        "Section 5.4; Tables 22 and 23 (that this level is guessing is ours)",
        lambda: _at_chance("FT-closed", 23),
    ),
    Claim(
        "sem_at_chance",
        "Against SOLID the SEM attack, too, ends at the level of guessing.",
        "Section 5.4; Tables 22 and 24 (that this level is guessing is ours)",
        lambda: _at_chance("SEM", 24),
    ),
    Claim(
        "epsilon",
        "A tolerance of 0.05 works best, and the choice hardly matters.",
        "Sections 5.1 and B.4; Figure 6",
        lambda: "in words: epsilon 0.05, tried from 0.05 to 1",
    ),
]
