"""A made-up results folder, numbers chosen by hand: tables, verdicts and ranges can be checked without a model."""

import json
from pathlib import Path

from solid_utils.core import schema

LAYERS = 6
TOTAL = 1000  # parameters; a layer has 100, so the ends hold 400
# benchmark: domain, chance, victim's score, standard error; the last two are no more than two errors above chance.
BENCHMARKS = {
    "hellaswag": ("Rsn", 0.25, 0.45, 0.05),
    "sums": ("Math", 0.0, 0.80, 0.04),
    "mmlu": ("Gen", 0.25, 0.26, 0.04),
    "truthfulqa": ("Gen", 0.20, 0.27, 0.04),
}
# Held-out texts: answer tokens. FLOOR: what counts over public text guess of each.
TEXTS = {"evaluation": 500, "evaluation_c4": 300, "evaluation_code": 200}
FLOOR = 0.10
NOT_BY_ITEM = ("kl", "cross_entropy")  # metrics without items
COUNTED = ("hellaswag", "sums")
# run: deployment, secured, attack, recipe's batch, steps, agreement before and after, share of the victim above chance
ATTACKS = {
    "solid-ft_all": ("solid", "layers 0", "ft_all", 8, 30, 0.02, 0.07, 0.05),
    "darknetz-ft_all": ("darknetz", "layers 5", "ft_all", 8, 30, 0.60, 0.70, 0.90),
    "fully_secured-ft_all": ("fully_secured", "all", "ft_all", 8, 30, 0.00, 0.05, 0.0),
    "layer0-sem": ("layers 0", "layers 0", "sem", 16, 400, 0.02, 0.80, 0.80),
    "layers0_3-sem": ("layers 0-3", "layers 0-3", "sem", 16, 200, 0.01, 0.20, 0.05),
}
SINGLES = [11.0, 6.5, 5.5, 3.0, 2.1, 4.0]  # DD of layer 0, 1, ...
# run: deployment, secured, {kind of problem: (before, after)}
CUSTOMIZATIONS = {
    "fully_open-math": ("fully_open", "none", {"chain_sum": (0.30, 0.90), "words": (0.0, 0.30)}),
    "solid-math": ("solid", "layers 0", {"chain_sum": (0.30, 0.88), "words": (0.0, 0.28)}),
}


_WRITTEN: dict[str, bytes] = {}  # by what is in it


def write(rows: list[dict], columns: list[str], path: Path) -> None:
    """schema.write, which takes half a second for a study, once for each content: dozens of studies differ in a run."""
    key = repr((rows, columns))
    if key not in _WRITTEN:
        schema.write(rows, columns, path)
        _WRITTEN[key] = path.read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_WRITTEN[key])


def facts(secured: str) -> dict:
    """Columns schema.SECURED of "all", "none", or a row of layers, each a tenth of the model."""
    if secured in ("all", "none"):
        everything = secured == "all"
        blank = {"lowest": 0 if everything else None, "highest": LAYERS - 1 if everything else None}
        sizes = {"parameters": TOTAL * everything, "share": float(everything), "depth": LAYERS * everything}
        return {"secured": secured} | sizes | blank | {"only_layers": False}
    first, _, last = secured.removeprefix("layers ").partition("-")
    lowest, highest = int(first), int(last or first)
    depth = highest - lowest + 1
    sizes = {"parameters": 100 * depth, "share": 100 * depth / TOTAL, "depth": depth}
    return {"secured": secured} | sizes | {"lowest": lowest, "highest": highest, "only_layers": True}


def run_columns(model: str, deployment: str, secured: str, attack: str, batch: int, steps: int, tier: str) -> dict:
    return {
        "model": model,
        "revision": "0123456789ab",
        "tier": tier,
        "dtype": "float32",
        "deployment": deployment,
        **facts(secured),
        "start": "xavier" if attack != "none" else "none",
        "attack": attack,
        "recipe": f"adamw 0.0002, decay 0.1, cosine, batch {batch}",
        "batch": batch,
        "numbers": 576 if attack == "sem" else 1,
        "view": "answers" if attack != "sem" else "token ids and boundary states",
        "labels": "victim",
        "seed": 42,
        "steps": steps,
        "samples": steps * batch,
        "queries": steps * batch,
        "tokens": steps * batch * 100,
        "flops": 0,
    }


def outcome(
    benchmark: str, domain: str, metric: str, value: float, stderr: float, n: int, chance: float | None
) -> dict:
    blank = {"shots": 0, "floor": None, "task_version": "1.0", "forward_tokens": 2048, "libraries": "torch 2.13.0"}
    found = {"benchmark": benchmark, "domain": domain, "metric": metric, "value": value, "stderr": stderr, "n": n}
    return found | {"chance": chance} | blank


def fidelity(agreement: float) -> list[dict]:
    values = {"agreement": agreement, "kl": 5 * (1 - agreement), "cross_entropy": 2 + 5 * (1 - agreement)}
    return [
        outcome(texts, "fidelity", name, value, 0.01, n, None)
        for texts, n in TEXTS.items()
        for name, value in values.items()
    ]


def benchmarks(kept: float) -> list[dict]:
    """Scores of a model that keeps this share of what the victim has above chance."""
    return [
        outcome(name, domain, "acc", chance + kept * (victim - chance), stderr, 100, chance)
        for name, (domain, chance, victim, stderr) in BENCHMARKS.items()
    ]


def items(outcome: dict) -> list[dict]:
    """Items that give an outcome: the first are right, one may be so in part. Agreement has samples of 25 tokens."""
    weight = 25 if outcome["domain"] == "fidelity" else 1
    count = outcome["n"] // weight
    right = [min(max(outcome["value"] * count - item, 0), 1) for item in range(count)]
    return [
        {"benchmark": outcome["benchmark"], "item": f"{item}", "value": weight * share, "weight": weight}
        for item, share in enumerate(right)
    ]


def write_scores(states: dict[int, list[dict]], run: dict, folder: Path) -> None:
    """`states`: optimizer steps -> outcomes. Writes scores.csv, and items.csv beside it."""
    rows, parts = [], []
    for steps, outcomes in states.items():
        costs = {"steps": steps} | {name: run[name] if steps else 0 for name in ("samples", "queries")}
        rows += [run | costs | one for one in outcomes]
        known = {key: (run | costs)[key] for key in schema.ITEMS if key in run}
        parts += [known | item for one in outcomes if one["metric"] not in NOT_BY_ITEM for item in items(one)]
    write(rows, schema.SCORES, folder / "scores.csv")
    write(parts, schema.ITEMS, folder / "items.csv")


def write_curve(run: dict, before: float, after: float, folder: Path) -> None:
    costs = [{"steps": run["steps"] * part // 4, "queries": run["queries"] * part // 4} for part in range(5)]
    values = [before + (after - before) * part / 4 for part in range(5)]
    rows = [
        run | cost | {"split": "validation", "metric": "agreement", "value": value}
        for cost, value in zip(costs, values, strict=True)
    ]
    write(rows, schema.CURVE, folder / "curve.csv")


def write_attack(folder: Path, model: str, name: str, tier: str, attack: tuple) -> None:
    deployment, secured, kind, batch, steps, before, after, kept = attack
    run = run_columns(model, deployment, secured, kind, batch, steps, tier)
    states = {0: fidelity(before) + benchmarks(0), steps: fidelity(after) + benchmarks(kept)}
    write_scores(states, run, folder / model / "attacks" / name)
    write_curve(run, before, after, folder / model / "attacks" / name)


def write_customization(folder: Path, model: str, name: str, tier: str, customization: tuple) -> None:
    deployment, secured, kinds = customization
    run = run_columns(model, deployment, secured, "none", 8, 60, tier) | {"start": "victim"}
    states = {
        steps: [
            outcome(kind, "customization", "exact_match", pair[place], 0.02, 50, 0.0) for kind, pair in kinds.items()
        ]
        + fidelity(1.0 - 0.1 * place)
        + benchmarks(1.0)
        for place, steps in enumerate((0, 60))
    }
    write_scores(states, run, folder / model / "customizations" / name)
    write_curve(run, 1.0, 0.9, folder / model / "customizations" / name)


def difficulty_rows(model: str, tier: str, kind: str, secured: str, dd: float) -> list[dict]:
    row = {"model": model, "revision": "0123456789ab", "tier": tier, "dtype": "float32", "kind": kind}
    row |= facts(secured) | {"start": "xavier", "calibrated": None}
    return [row | {"seed": seed, "dd": dd, "stderr": 0.1, "n": 48} for seed in ("20", "42", "mean")]


def bottom(layers: int) -> str:
    return "layers 0" if layers == 1 else f"layers 0-{layers - 1}"


def write_difficulty(folder: Path, model: str, tier: str, prefix: list[float], ceiling: float) -> None:
    """`prefix`: DD of layers 0..l-1 for l = 1, 2, ...; under normal_0.02 only the search ran, 0.1 higher."""
    rows, searches = difficulty_rows(model, tier, "empty", "none", 1.77), {}
    for layers, dd in enumerate(prefix, start=1):
        rows += difficulty_rows(model, tier, "prefix", bottom(layers), dd)
    rows += difficulty_rows(model, tier, "all", "all", ceiling)
    for start, more in (("xavier", 0.0), ("normal_0.02", 0.1)):
        passing = [layers for layers, dd in enumerate(prefix, start=1) if dd + more >= 0.95 * (ceiling + more)]
        l_star = (passing or [len(prefix)])[0]
        found = {"l_star": l_star, "epsilon": 0.05, "secured": bottom(l_star), "dd": prefix[l_star - 1] + more}
        searches[start] = found | {"ceiling": ceiling + more, "evaluations": l_star + 1, "saved": LAYERS - l_star}
    write(rows, schema.DD, folder / model / "dd" / "curve.csv")
    (folder / model / "dd" / "search.json").write_text(json.dumps(searches))
    rows = [row for n, dd in enumerate(SINGLES) for row in difficulty_rows(model, tier, "single", f"layers {n}", dd)]
    write(rows, schema.DD, folder / model / "scan" / "curve.csv")


def write_study(
    folder: Path,
    model: str = "toy",
    tier: str = "small",
    attacks: dict | None = None,
    customizations: dict | None = None,
    prefix: tuple = (11.0, 11.5, 12.0, 12.5, 13.0, 13.5),
    ceiling: float = 10.9,
    items: bool = True,
) -> Path:
    """A whole results folder of one model; arguments replace single parts, `items` False is faster. Returns it."""
    runs = folder / "runs"
    run = run_columns(model, "none", "none", "none", 8, 0, tier)
    write_scores({0: fidelity(1.0) + benchmarks(1.0)}, run, runs / model / "victim")
    guessed = {"model": model, "revision": "0123456789ab", "tier": tier, "dtype": "float32", "agreement": FLOOR}
    floors = [
        guessed | {"benchmark": texts, "predictor": predictor, "n": n}
        for texts, n in TEXTS.items()
        for predictor in ("constant", "trigram")
    ]
    write(floors, schema.FLOOR, runs / model / "victim" / "floor.csv")
    write_difficulty(runs, model, tier, list(prefix), ceiling)
    for name, attack in (ATTACKS if attacks is None else attacks).items():
        write_attack(runs, model, name, tier, attack)
    for name, customization in (CUSTOMIZATIONS if customizations is None else customizations).items():
        write_customization(runs, model, name, tier, customization)
    for path in [] if items else runs.rglob("items.csv"):
        path.unlink()
    return folder
