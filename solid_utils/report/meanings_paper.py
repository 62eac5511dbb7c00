"""Meanings of the columns of what is about the paper: its claims, its tables and figures, all that it states."""

OF_THE_PAPER: dict[str, tuple[str, str]] = {  # column: (unit, meaning), see meanings.py
    # claims
    "key": ("name", "of the claim"),
    "claim": ("text", "what the paper claims"),
    "claims.source": ("text", "where in the paper"),
    "paper_said": ("text", "the paper's own numbers"),
    "we_measured": ("text", "ours"),
    "verdict": ("text", "supported, contradicted, or not tested, at this scale"),
    "rule": ("text", "by which the verdict was reached"),
    # the paper's tables and figures
    "published.item": ("name", "table or figure of the paper, as configs/published.yaml names it"),
    "published.state": ("name", "`here`, `partly`, or what it would take: `needs_gpu`, `needs_hub`"),
    "shows": ("text", "what it shows"),
    "counterpart": ("text", "files of the results, or of this repository, that stand beside it"),
    "found": ("count", "rows of that table that the registry chooses; blank where it names no table"),
    "spent": ("text", "least and most that these rows took"),
    "published.claims": ("names", "claims of the paper that rest on it"),
    "published.verdict": ("text", "what the table of claims says of each, where something of the item ran"),
    "audit": ("numbers", "points of the audit of the published numbers (solid_utils/paper/audit.py)"),
    "remark": ("text", "what to know before its numbers are used"),
    "needs": ("text", "what the rest of it would take"),
    # everything that the paper states
    "statement": ("name", "theorem, contribution, observation, remark or question of the paper, or its sensitivity"),
    "stands_in": ("text", "where in the paper"),
    "rests_on": ("names", "claims, hypotheses and steps of notebook 00 that decide it"),
    "statements.source": ("name", "where the evidence is from: `default`, `grid`, `beyond`, `scale`, `theory`"),
    "evidence": ("name", "run, grid cell, or hypothesis with the victim and what it says"),
    "statements.outcome": (
        "as its source",
        "of a hypothesis, or accuracy after customization; theory: range over cases",
    ),
}
