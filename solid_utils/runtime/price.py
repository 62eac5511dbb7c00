"""What a defence at the boundary costs in perplexity, and what it leaves to a thief who may ask so many times.

python -m solid_utils.runtime.price MODEL FOLDER 'layers 0' 'layers 0-3'     FOLDER/boundaries.csv

The thief fits the linear map and knows of the defence. Against noise he may spend his queries on more texts, or on
fewer that he asks again and again, barely changed; against coarse rounding he may fit within its cells (adaptive.py).
Where a defence is so fine that a customer may bear it he trains SEM beside the map, too, on all texts.
"""

from transformers import PreTrainedModel

from solid_utils.core import errors, schema
from solid_utils.core.paths import BOUNDARIES_FILE
from solid_utils.deployment.secured import secured_set
from solid_utils.evaluation import fidelity
from solid_utils.model import sampling
from solid_utils.runtime import measured_model
from solid_utils.runtime.adaptive import BOTH, LENGTH, LINEAR, Attacker, Told
from solid_utils.runtime.defences import Guarded, defended, guard
from solid_utils.runtime.manifest import Boundary

TEXTS = "evaluation_c4"
SHOWN = [Boundary(), *(Boundary(rounding=name) for name in ("bfloat16", "int8", "int4"))]
SHOWN += [Boundary(noise=noise) for noise in (0.1, 0.3, 1.0)]
MOST_NOISE = 0.1  # beside which SEM is trained
COARSE = "int4"  # whose cells are worth knowing: those of finer rounding changed nothing (table `defended`)
ASKINGS = 16


def through(told: Told, boundary: Boundary, askings: int, texts: int) -> Told:
    """What a defence shows of the first `texts`, each asked so often; `told` holds the states without a defence.

    As Told of defences.Guarded, without running the secured layers again.
    """
    guards = [guard(boundary, asking) for asking in range(askings)]
    twin = object.__new__(Told)
    twin.__dict__ |= vars(told) | {"maps": {}, "states": {}, "samples": told.samples[:texts]}
    twin.rounding = boundary.rounding
    for sample in twin.samples:
        tokens = tuple(sample["input_ids"])
        twin.states[tokens] = sum(own(told.states[tokens]) for own in guards) / askings
    twin.queries = askings * texts
    twin.tokens = askings * sum(len(sample["input_ids"]) for sample in twin.samples)
    return twin


def ways(boundary: Boundary, counts: list[int], askings: int = ASKINGS) -> list[tuple[str, str, int, int]]:
    """How the thief asks: (attack, how he adapts, texts, askings of each), never more queries than the last of
    `counts`."""
    asked = [(LINEAR, "no", count, 1) for count in counts]
    if boundary.noise and counts[-1] >= 2 * askings:  # a map needs two texts
        asked.append((LINEAR, "mean", counts[-1] // askings, askings))
    if boundary.rounding == COARSE:
        asked.append((LINEAR, "cells", counts[-1], 1))
    elif boundary.noise <= MOST_NOISE:
        asked.append((BOTH, "no", counts[-1], 1))
    return asked


def priced(
    attacker: Attacker,
    told: Told,
    tokenizer,
    counts: list[int],
    held_out: list[dict],
    boundaries: list[Boundary] = SHOWN,
    askings: int = ASKINGS,
    room: float = 1.2e9,
) -> list[dict]:
    """For each defence a row of the customer's model, attack "none", and one for each way of asking.

    Columns of schema.BOUNDARIES without the model's own. counts: texts, ascending; the most are all that were told.
    held_out: texts on which agreement and KL with the plain victim, and perplexity, are taken. room: bytes, see
    fidelity.Remembered.
    """
    plain = fidelity.Remembered(lambda: attacker.victim, room)
    fidelity.fidelity(attacker.victim, plain, tokenizer, held_out)  # plain: remembered from here on
    rows = []
    for boundary in boundaries:
        common = {"rounding": boundary.rounding, "noise": boundary.noise, "seed": attacker.seed}
        with defended(attacker.victim, told.view.last, boundary) as customers:
            nobody = {"attack": "none", "adapts": "no", "texts": 0, "askings": 0, "queries": 0, "tokens": 0}
            rows.append(common | nobody | scored(customers, plain, tokenizer, held_out))
        for attack, adapts, texts, times in ways(boundary, counts, askings):
            seen = through(told, boundary, times, texts)
            asked = {"attack": attack, "adapts": adapts, "texts": texts, "askings": times}
            asked |= {"queries": seen.queries, "tokens": seen.tokens}
            replica = attacker.replica(attack, seen, adapts == "cells")
            rows.append(common | asked | scored(replica, plain, tokenizer, held_out))
            print({name: value for name, value in rows[-1].items() if name != "seed"}, flush=True)
    return rows


def scored(model: PreTrainedModel, plain: fidelity.Remembered, tokenizer, held_out: list[dict]) -> dict:
    """Agreement (with its standard error) and KL with the plain victim, and the model's own perplexity."""
    rows = {row["metric"]: row for row in fidelity.fidelity(model, plain, tokenizer, held_out, TEXTS).rows}
    found = {name: rows[name]["value"] for name in ("agreement", "kl", "perplexity")}
    return found | {"benchmark": TEXTS, "stderr": rows["agreement"]["stderr"], "n": rows["agreement"]["n"]}


def command() -> None:
    """Price the defences of one model's deployments, and write what came out after each set."""
    parser = measured_model.parser("price", "What defences cost and leave.", BOUNDARIES_FILE)
    parser.add_argument("secured", nargs="+", help="what is secured, such as 'layers 0'; several, each its own rows")
    parser.add_argument("--texts", type=int, nargs="+", default=[100, 3200], help="that the thief asks about")
    wanted = parser.parse_args()
    with errors.one_line():
        own = measured_model.load(wanted.model)
        samples = sampling.texts("attack", own.tokenizer, LENGTH, max(wanted.texts))
        held_out = own.web_texts()
        rows = []
        for declaration in wanted.secured:
            secured = secured_set(own.victim, declaration)
            attacker = Attacker(own.victim, secured, own.budget.attack.sem, own.budget.attack.seeds[0])
            told = Told(Guarded(own.victim, secured, own.tokenizer.pad_token_id, Boundary()), samples)
            found = priced(attacker, told, own.tokenizer, sorted(wanted.texts), held_out)
            rows += [own.identity(secured) | row for row in found]
            schema.write(rows, schema.BOUNDARIES, wanted.folder / BOUNDARIES_FILE)


if __name__ == "__main__":
    command()
