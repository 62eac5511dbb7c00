"""What a measured attack says on the card: a table, a reading of it, and what to do. Words only, from its facts."""

from solid_utils.metrics.attack_cost import compact, legitimate_queries
from solid_utils.recommend.outcome import Attack, Estimate, Outcome, Prefix


def percent(one: Estimate | None) -> str:
    """An estimate with its interval, in percent."""
    if one is None:
        return ""
    return f"{one.value:.1%}" + ("" if one.low is None else f" [{one.low:.1%}, {one.high:.1%}]")


def nats(one: Estimate | None) -> str:
    if one is None:
        return ""
    return f"{one.value:.2f}" + ("" if one.low is None else f" [{one.low:.2f}, {one.high:.2f}]")


NOT_ASKED = "Not attacked (--no-attack)."


def section(outcome: Outcome, chart: str, source: str) -> str:
    """The card's part on the attack, Markdown; `chart` is the picture's file name, `source` that of the texts."""
    if outcome.attack is None:
        return NOT_ASKED
    found = outcome.attack
    return f"""A thief asks {found.queries} texts once ({found.tokens:,} tokens; {source}), sees what leaves the \
secured layers, as any customer who runs the rest does, and puts one linear map in their place, in closed form, \
without training. Scored on {found.answer_tokens:,} answer tokens of {found.texts} other texts; brackets hold 95 % \
intervals over texts.

| secured | share of the model | before any query | **after it: agreement** | above public text | KL (nats) | |
|---|---|---|---|---|---|---|
{chr(10).join(row(one, outcome) for one in found.prefixes)}

Agreement: how often thief and victim name the same next token. Public text alone ({found.floor_by}s, no query) agrees \
on {percent(found.floor)}; *above public text* is the share of the rest. A set holds where that interval ends below \
{found.hold_below:.0%}, and is broken where it begins above {found.broken_above:.0%}.

![Agreement with the victim by share of the model secured]({chart})

### What to do

{chr(10).join(f"- {line}" for line in advice(outcome))}"""


def row(one: Prefix, outcome: Outcome) -> str:
    mark = " (recommended)" if one.layers == outcome.recommended.layers else ""
    cells = [one.secured + mark, f"{one.share:.1%}", percent(one.zero_query), percent(one.agreement)]
    return f"| {' | '.join([*cells, percent(one.above_floor), nats(one.kl), one.verdict])} |"


def advice(outcome: Outcome) -> list[str]:
    """What follows from the verdicts, a line each."""
    found = outcome.attack
    name, lines = outcome.recommended.secured, []
    measured = [one for one in found.prefixes if one.verdict != "not measured"]
    holding = [one for one in measured if one.verdict == "holds"]
    if not measured:
        return [
            "Nothing was measured: these layers hand on keys and values beside their state, so no map of states alone "
            "can stand in for them. Attack the set in another way before you rely on it."
        ]
    if outcome.verdict == "holds":
        lines.append(
            f"{name} held against this attack, the cheapest there is. That is no proof: one that trains, or asks more "
            "than these texts, gets further. Attack it with SEM before you rely on it."
        )
        return lines
    if outcome.verdict == "not measured":
        lines.append(f"{name} could not be attacked this way: its layers hand on keys and values beside their state.")
    if outcome.verdict == "undecided":
        lines.append(f"{name}: the interval does not decide. Score more texts (--samples).")
    if outcome.verdict == "broken":
        has = percent(recommended(outcome))
        lines.append(f"Do not rely on {name}: without any training a map has {has} of what public text does not give.")
    if holding:
        one = holding[0]
        lines.append(
            f"{one.secured} ({one.share:.1%} of the model) is the smallest set here that held. Attack it with SEM, and "
            "count what it costs the customer, before you rely on it."
        )
        return lines
    return [*lines, *nothing_holds(found, measured)]


def nothing_holds(found: Attack, measured: list[Prefix]) -> list[str]:
    """No set that was tried held."""
    fell = [one for one in measured if one.verdict == "broken"]
    deepest = measured[-1]
    every = "Every prefix that was tried fell" if len(fell) == len(measured) else "No prefix that was tried held"
    return [
        f"{every}, up to {deepest.secured} ({deepest.share:.1%} of the model). Larger sets are left to try; what this "
        "attack gets of them is not known.",
        "Secure the whole model (`fully_secured`: an enclave, or serve it yourself): then there are no states to fit, "
        "only answers are seen. The customer can then fine-tune nothing on his own machine.",
        f"A cap on queries does not help: {found.queries} texts are fewer than one epoch of a legitimate "
        f"customization, {compact(legitimate_queries().min())} at least (paper, Table 8).",
        "Not measured here: noise or rounding of the states that leave the secured part, and secured layers higher up. "
        "Whoever relies on them should first attack them likewise.",
        "Otherwise treat the open weights as given away: contracts, and what only the vendor has (data, updates).",
    ]


def recommended(outcome: Outcome) -> Estimate | None:
    """What the thief has of the recommended set above the floor."""
    layers = outcome.recommended.layers
    return next(one.above_floor for one in outcome.attack.prefixes if one.layers == layers)
