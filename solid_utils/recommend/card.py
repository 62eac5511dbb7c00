"""The one-page card of a recommendation: the set, its score, what it costs, and what an attack on it achieved."""

import html
import math
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd

from solid_utils.core import schema
from solid_utils.core.errors import StudyError
from solid_utils.core.numbers import recovered_share
from solid_utils.deployment.cost import cost
from solid_utils.deployment.secured import SecuredSet, note
from solid_utils.difficulty.difficulty import Losses, SearchResult, summary
from solid_utils.difficulty.weights import InMemory
from solid_utils.model.checkpoint import Checkpoint, read_json
from solid_utils.recommend.advice import nats, section
from solid_utils.recommend.attack_plan import AttackPlan
from solid_utils.recommend.outcome import Outcome
from solid_utils.recommend.plan import SearchPlan, amount

SCORES = ("results/runs/*/attacks/*/scores.csv", "reference/*/runs/*/attacks/*/scores.csv")  # the first that has any
NO_ATTACK = "no attack run on this model"
NO_PROMISE = (
    "A recommendation is not a promise of security: DD measures where the attacker starts, not where he ends. "
    "Attack the set before you rely on it."
)


def card(
    model: str,
    how: str,
    found: Checkpoint,
    sha256: str,
    skeleton: InMemory,
    plan: SearchPlan,
    result: SearchResult,
    losses: Losses,
    outcome: Outcome,
    chart: str,
    attacked: AttackPlan | None,
) -> str:
    """Markdown, without any time. `how` says in a line on what the score was measured, `sha256` is of the weights.

    `chart` is the name of the picture beside the card, `attacked` the plan of the attack, where one ran.
    """
    chosen = skeleton.secured(f"bottom {result.l_star}")
    vocabulary = skeleton.model.get_output_embeddings().weight.shape[0]
    return f"""# Which layers to secure: {plain(model)}

**Recommended: {chosen.declaration}** of {len(skeleton.layers)} decoder layers, {chosen.parameters:,} parameters \
({chosen.share:.1%} of the model).
{verdict(result)}
{in_short(outcome)}
{NO_PROMISE}

## Measured attack

{section(outcome, chart, plain(outcome.attack.asked) if outcome.attack else "")}

## Score

{plain(how)}

| secured | DD (nats) | above the bar (nats) |
|---|---|---|
{rows(result, losses)}

The bar is (1 - {result.epsilon:g}) of everything; ± are standard errors over samples and seeds (to the bar: of paired
differences). Blind guessing scores ln(vocabulary) = {math.log(vocabulary):.2f}; above that DD counts confident errors.
{forecast(outcome)}

## Cost of securing it

{costs(skeleton, chosen, plan)}

## Attacks of the study on this model

{chr(10).join(f"- {plain(line)}" for line in attacks(skeleton, chosen, *identity(found, sha256)))}

## The run

```
{replace(plan, rates=None)}{f"{chr(10)}{replace(attacked, rates=None)}" if attacked else ""}
```

Weights: {plain(", ".join(path.name for path in found.files[:4]) + " ..." * (len(found.files) > 4))}, sha256 {sha256}
"""


def in_short(outcome: Outcome) -> str:
    """The attack's verdict in a line of its own, or nothing."""
    if outcome.attack is None:
        return ""
    words = {"holds": "it held", "broken": "it fell", "undecided": "undecided", "not measured": "not measured"}
    asked = f"one linear map from {outcome.attack.queries} texts"
    return f"\n**Attacked with {asked}: {words[outcome.verdict]}.** See below what to do.\n"


def forecast(outcome: Outcome) -> str:
    """A score without training that forecasts an attack's end as DD does; nothing without a measured attack.

    What it took is in the plan and not here: padding depends on how many processes share the work.
    """
    if outcome.attack is None:
        return ""
    mine = [one for one in outcome.attack.prefixes if one.layers == outcome.recommended.layers]
    if not mine or mine[0].kl is None:
        return ""
    return (
        f"\nBeside DD: KL with one linear map in place of {mine[0].secured}, {nats(mine[0].kl)} nats. Of the scores "
        "without training that were held against the ends of attacks, such a KL was among the best, and over all "
        "victims not above DD by its interval (docs/scale.md). What it took is the work of the attack, below under "
        "*The run*.\n"
    )


def plain(text: str) -> str:
    """A text as Markdown that shows just this text on one line; a name of a file may hold HTML, bars and links."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    escaped = re.sub(r"([\\`*\[\]|~$])", r"\\\1", html.escape(" ".join(line.split()), quote=False))
    escaped = escaped.replace("-&gt;", "->")  # no tag ends where none begins
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", escaped)  # inside a word, as in ft_all, it is a letter


def verdict(result: SearchResult) -> str:
    """What the search is sure of."""
    if result.margins[result.l_star][0] < 0:
        return "No prefix reaches the bar, so these are all layers: the score gives no smaller set."
    return f"Warning: {result.warning}." if result.warning else "It is more than two standard errors from the bar."


def rows(result: SearchResult, losses: Losses) -> str:
    """A table row for every set that was scored."""
    margins = {f"bottom {layers}": margin for layers, margin in result.margins.items()}
    lines = []
    for name, by_seed in losses.items():
        margin, error = margins.get(name, (None, None))
        above = "" if margin is None else f"{margin:+.3f} ± {error:.3f}"
        lines.append(f"| {'everything' if name == 'all' else name} | {plus_minus(by_seed)} | {above} |")
    return "\n".join(lines)


def plus_minus(by_seed: dict) -> str:
    """Mean over samples and seeds, and its standard error."""
    mean = summary(by_seed)[-1]
    return f"{mean['dd']:.3f} ± {mean['stderr']:.3f}"


def costs(skeleton: InMemory, chosen: SecuredSet, plan: SearchPlan) -> str:
    """What cost.py counts, a line each."""
    with skeleton.layers.idle():
        counted = cost(skeleton.model, chosen, skeleton.model.dtype.itemsize)
    lines = [
        f"secure memory: {amount(counted.secure_memory)}B",
        f"work inside: {amount(counted.flops_per_token)}FLOP a token",
        f"across the boundary: {counted.bytes_forward:,} bytes a token forward, {counted.bytes_backward:,} backward "
        "when the open part is fine-tuned",
    ]
    return "\n".join(f"- {line}" for line in [*lines, note(skeleton.model, chosen)] if line)


def identity(found: Checkpoint, sha256: str) -> tuple[str, str | None]:
    """Revision of a checkpoint, and its name in the study where it is one of the study's victims."""
    source = found.folder / "source.json"
    if source.exists() and not found.gguf:
        return read_json(source).get("revision", ""), found.folder.resolve().parent.name
    if found.folder.parent.name == "snapshots":  # the hub's cache: its commit
        return found.folder.name, None
    return found.revision(sha256), None  # as the study names a victim of such a folder


def attacks(skeleton: InMemory, chosen: SecuredSet, revision: str, name: str | None) -> list[str]:
    """What attacks on this model and secured set achieved: from results/, else from reference/, a line each."""
    for pattern in SCORES:
        lines = []
        for path in sorted(Path().glob(pattern)):
            table = schema.read(path, schema.SCORES)
            same = (table["revision"].astype(str) == revision) & (table["model"] == (name or table["model"]))
            secured = {text: same_set(skeleton, text, chosen) for text in table["secured"][same].unique()}
            lines += achieved(table[same & table["secured"].map(secured).eq(True)])  # other models' sets map to nan
        if lines:
            return lines
    return [NO_ATTACK]


def same_set(skeleton: InMemory, declaration: str, chosen: SecuredSet) -> bool:
    try:
        return skeleton.secured(declaration).names == chosen.names
    except StudyError:
        return False


def achieved(table: pd.DataFrame) -> list[str]:
    """Agreement before the first query and at the end, and the queries in between, for each attack and seed."""
    agreement = table[(table["benchmark"] == "evaluation") & (table["metric"] == "agreement")].sort_values("steps")
    lines = []
    for (model, attack, seed), run in agreement.groupby(["model", "attack", "seed"], sort=False):
        before, after = run["value"].iloc[0], run["value"].iloc[-1]
        share = recovered_share(after, before)
        so = "the start lacked nothing" if math.isnan(share) else f"{share:.1%} of what the start lacked was recovered"
        lines.append(
            f"{attack} on {model} (seed {seed}): {run['queries'].iloc[-1]:,} queries, agreement with the victim "
            f"{before:.1%} -> {after:.1%}, so {so}"
        )
    return lines
