"""Everything that the paper states as its own: theorem, contributions, observations, remarks, questions, sensitivity.

Each rests on claims that are judged by a rule (said.py), on hypotheses of the scale study, on steps of notebook 00, or
on nothing that could be run; and names the secured sets whose attacks are its evidence.
"""

from dataclasses import dataclass

RESTS = (
    "Contradicted where a claim that it rests on is, or where notebook 00 finds no threshold (step 3), victim and "
    "replica collapsing alike (4), or a counter-example (5); supported where all its claims are; else not tested."
)
NOTHING = "Says what the paper did or discusses; there is nothing to run."


@dataclass(frozen=True)
class Statement:
    """key, words of our own, and where it stands. claims: keys of said.CLAIMS; asked: hypotheses; theory: steps of
    notebook 00; sets: `solid`, `first`, `others`, `last`, `all`, `customized` (report/tables/statements.py)."""

    key: str
    text: str
    source: str
    claims: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    theory: tuple[int, ...] = ()
    sets: tuple[str, ...] = ()

    @property
    def rule(self) -> str:
        return RESTS if self.claims or self.theory else NOTHING


STATEMENTS = (
    Statement(
        "theorem_1",
        "Below a transition layer a wrong layer makes the distilled model's output collapse to rank one; above it it "
        "need not.",
        "Theorem 1, section 4.1, appendix A",
        theory=(1, 2, 3, 4, 5, 6, 7, 8),
    ),
    Statement(
        "contribution_1",
        "One well chosen secured layer resists distillation as full encryption does, and customizes as the open model.",
        "Section 1, first contribution",
        claims=("solid_security", "solid_customization"),
        asked=("H1",),
        sets=("solid", "all", "customized"),
    ),
    Statement(
        "contribution_2",
        "A first theoretical result on a transition layer that resists distillation.",
        "Section 1, second contribution",
        theory=(1, 2, 3, 4, 5, 6, 7, 8),
    ),
    Statement(
        "contribution_3",
        "Evaluations of five models under three attacks against three baselines.",
        "Section 1, third contribution",
    ),
    Statement("contribution_4", "A discussion of alternative positions.", "Section 1, fourth contribution; section 6"),
    Statement(
        "observation_1",
        "Securing the last layer alone fails against all three attacks.",
        "Observation 1, section 5.2",
        claims=("darknetz",),
        sets=("last",),
    ),
    Statement(
        "observation_2",
        "Where the secured layers lie decides security, and hardly touches customization.",
        "Observation 2, section 5.3",
        claims=("placement",),
        asked=("H2",),
        sets=("first", "others", "last"),
    ),
    Statement(
        "observation_3",
        "More secured layers raise security and lower customization.",
        "Observation 3, section 5.3",
        claims=("size",),
        sets=("first", "all", "customized"),
    ),
    Statement(
        "observation_4",
        "SOLID is as secure as the fully secured model while it secures far fewer parameters.",
        "Observation 4, section 5.4",
        claims=("solid_security", "ft_closed_at_chance", "sem_at_chance"),
        asked=("H1", "H5"),
        sets=("solid", "all"),
    ),
    Statement(
        "observation_5",
        "SOLID customizes nearly as the fully open model.",
        "Observation 5, section 5.4",
        claims=("solid_customization",),
        sets=("customized",),
    ),
    Statement(
        "remark_1",
        "If a bottom layer is replaced by what training finds, distillation certainly fails; not so for later layers.",
        "Remark 1, section 4.1",
        theory=(4, 5, 8),
    ),
    Statement(
        "remark_2",
        "The normalised output exists although the iteration diverges, in a fixed direction.",
        "Remark 2, section 4.1",
        theory=(1, 7),
    ),
    Statement(
        "remark_3",
        "The transition layer lies strictly between bottom and top.",
        "Remark 3, section 4.1",
        theory=(2, 3),
    ),
    Statement(
        "question_1",
        "Distillation copies the whole model where the top layer is secured (the answer to RQ1).",
        "RQ1, sections 5 and 5.2",
        claims=("darknetz",),
        sets=("last",),
    ),
    Statement(
        "question_2",
        "Place decides security, number trades it for customization (the answer to RQ2).",
        "RQ2, sections 5 and 5.3",
        claims=("placement", "size"),
        asked=("H2", "H3", "H4"),
        sets=("first", "others", "customized"),
    ),
    Statement(
        "question_3",
        "Securing the bottom balances theft and customization better than the baselines (the answer to RQ3).",
        "RQ3, sections 5 and 5.4",
        claims=("solid_security", "solid_customization"),
        asked=("H1",),
        sets=("solid", "last", "all", "customized"),
    ),
    Statement(
        "sensitivity",
        "SOLID hardly depends on its tolerance, and 0.05 works best.",
        "Sections 5.1 and B.4, Figure 6",
        claims=("epsilon",),
    ),
)
