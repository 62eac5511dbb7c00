"""Two secret bottoms that answer in turn: what telling them apart, or asking twice, gives a thief.

python -m solid_utils.runtime.turns MODEL FOLDER     FOLDER/turns.csv

Both serve one open part, so the second has to compute nearly the same: it is the first with noise on its matrices,
`spread` times each matrix's own root mean square, or such a one trained to serve (twins.py). A text is answered by one
of the two, by turns. The thief fits the linear map on all answers together, alone or with SEM beside it; or he fits on
means, where he asks each text twice and so half as many; or on the answers of one alone, if he can tell them apart,
which is more than he may know.
"""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor
from transformers import PreTrainedModel

from solid_utils.core import errors, schema
from solid_utils.core.paths import TURNS_FILE
from solid_utils.deployment.oracle import Oracle
from solid_utils.deployment.secured import SecuredSet, secured_set
from solid_utils.evaluation import fidelity
from solid_utils.model import sampling
from solid_utils.runtime import measured_model, twins
from solid_utils.runtime.adaptive import BOTH, LENGTH, LINEAR, Attacker, Told
from solid_utils.runtime.price import TEXTS, scored

SPREADS = (0.0, 0.03, 0.1, 0.3)
TRAINED = (0.3, 1.0)  # spreads from which the second is trained
HEALING = 1600  # texts for that, other ones than the thief's
STEPS = 200
TOGETHER, TWICE, TOLD = WAYS = ("no", "mean", "apart")
Pair = tuple[str, float, PreTrainedModel]  # how the second was made, from how much noise, and it


class Turns:
    """Two oracles behind one; stands where adaptive.Told takes an oracle. Texts are told apart by their tokens."""

    rounding = "none"

    def __init__(self, both: list[Oracle], samples: list[dict], way: str):
        self.both = both
        self.view, self.secured, self.width = both[0].view, both[0].secured, both[0].width
        self.way = way
        self.whose = {tuple(sample["input_ids"]): number % 2 for number, sample in enumerate(samples)}
        self.sequences = self.tokens = 0

    def boundary(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """As Oracle.boundary: each text's states by the one whose turn it is; the mean of both where both are asked."""
        askings = 2 if self.way == TWICE else 1
        self.sequences += askings * len(input_ids)
        self.tokens += askings * int(attention_mask.sum())
        first, second = (oracle.boundary(input_ids, attention_mask) for oracle in self.both)
        if self.way == TWICE:
            return (first + second) / 2
        turns = [
            self.whose[tuple(ids[real].tolist())] for ids, real in zip(input_ids, attention_mask.bool(), strict=True)
        ]
        return torch.where(torch.tensor(turns, dtype=torch.bool, device=first.device)[:, None, None], second, first)


def asked(samples: list[dict], way: str) -> list[dict]:
    """The texts that a thief fits on, of as many askings as there are samples."""
    if way == TWICE:
        return samples[: len(samples) // 2]
    return samples[::2] if way == TOLD else samples


def pairs(victim: PreTrainedModel, secured: SecuredSet, healed: Callable[[float], PreTrainedModel]) -> Iterator[Pair]:
    """No second bottom (the first once more), noisy ones, and trained ones, which `healed` makes of so much noise."""
    for spread in SPREADS:
        yield twins.NOISE, spread, twins.noisy(victim, secured, spread)
    for spread in TRAINED:
        yield twins.TRAINED, spread, healed(spread)


def measured(
    attacker: Attacker, tokenizer, samples: list[dict], held_out: list[dict], seconds: Iterable[Pair]
) -> Iterator[list[dict]]:
    """For each second bottom, as it ends, a row of the customer's model, attack "none", and one for each thief; columns
    of schema.TURNS without the model's own.

    samples: askings of the thief. Every row is the mean over both bottoms, as half of the texts meet each: the customer
    is set beside the first, a thief beside both.
    """
    victim, secured, pad_id = attacker.victim, attacker.secured, tokenizer.pad_token_id
    first = fidelity.Remembered(lambda: victim)
    for kind, spread, twin in seconds:
        rows = []
        both = [victim, twin]
        plain = [first, fidelity.Remembered(lambda model=twin: model)]
        oracles = [Oracle(model, secured, pad_id) for model in both]
        pair = {"twin": kind, "spread": spread, "apart": twins.apart(oracles, held_out)}
        served = mean([scored(model, first, tokenizer, held_out) for model in both])
        rows.append(pair | {"attack": "none", "adapts": "no", "queries": 0, "tokens": 0} | served)
        for way in WAYS if spread else WAYS[:1]:
            told = Told(Turns(oracles, samples, way), asked(samples, way))
            spent = {"queries": told.queries, "tokens": told.tokens}
            if way == TOLD:  # he asks about all texts to have half of them answered by one
                spent = {"queries": len(samples), "tokens": sum(len(sample["input_ids"]) for sample in samples)}
            for attack in (LINEAR, BOTH) if way == TOGETHER else (LINEAR,):
                thief = attacker.replica(attack, told, cells=False)
                stolen = mean([scored(thief, one, tokenizer, held_out) for one in plain])
                rows.append(pair | {"attack": attack, "adapts": way} | spent | stolen)
                print(kind, spread, attack, way, rows[-1]["agreement"], flush=True)
        yield rows


def mean(scores: list[dict]) -> dict:
    """What price.scored gives, over both bottoms."""
    names = ("agreement", "stderr", "kl", "perplexity")
    return {"benchmark": TEXTS, "n": scores[0]["n"]} | {
        name: sum(one[name] for one in scores) / len(scores) for name in names
    }


def command() -> None:
    """Measure one model's deployment, and write what came out."""
    parser = measured_model.parser("turns", "Two secret bottoms, by turns.", TURNS_FILE)
    parser.add_argument("--secured", default="layers 0", help="decoder layers")
    parser.add_argument("--texts", type=int, default=1600, help="askings of the thief")
    wanted = parser.parse_args()
    with errors.one_line():
        own = measured_model.load(wanted.model)
        secured = secured_set(own.victim, wanted.secured)
        samples = sampling.texts("attack", own.tokenizer, LENGTH, wanted.texts + HEALING)
        samples, healing = samples[: wanted.texts], samples[wanted.texts :]
        attacker = Attacker(own.victim, secured, own.budget.attack.sem, twins.SEED)
        pad_id, spec = own.tokenizer.pad_token_id, own.study.model(own.name)
        seconds = pairs(
            own.victim,
            secured,
            lambda spread: twins.trained(own.victim, secured, spread, healing, STEPS, pad_id, spec),
        )
        named = own.identity(secured) | {"seed": twins.SEED}
        found: list[dict] = []
        for rows in measured(attacker, own.tokenizer, samples, own.web_texts(), seconds):
            found += [named | row for row in rows]
            schema.write(found, schema.TURNS, wanted.folder / TURNS_FILE)


if __name__ == "__main__":
    command()
