"""Two secret bottoms that answer in turn: what telling them apart, or asking twice, gives a thief.

python -m solid_utils.runtime.turns MODEL FOLDER     FOLDER/turns.csv

Both serve one open part, so the second has to compute nearly the same: it is the first with noise on its matrices,
`spread` times each matrix's own root mean square. A text is answered by one of the two, by turns. The thief fits the
linear map on all answers together; on means, where he asks each text twice and so half as many; or on the answers of
one alone, if he can tell them apart, which is more than he may know.
"""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from solid_utils.core import errors, schema
from solid_utils.core.paths import TURNS_FILE
from solid_utils.deployment.oracle import Oracle
from solid_utils.deployment.secured import SecuredSet, secured_set
from solid_utils.evaluation import fidelity
from solid_utils.model import models, sampling
from solid_utils.runtime import measured_model
from solid_utils.runtime.adaptive import LENGTH, LINEAR
from solid_utils.runtime.defences import replica
from solid_utils.runtime.price import TEXTS, scored

SEED = 42
SPREADS = (0.0, 0.03, 0.1, 0.3)
TOGETHER, TWICE, TOLD = WAYS = ("no", "mean", "apart")


def twin(victim: PreTrainedModel, secured: SecuredSet, spread: float) -> PreTrainedModel:
    """The victim with noise on its secret matrices, `spread` of each one's root mean square; vectors stay."""
    other = models.clone(victim)
    generator = torch.Generator().manual_seed(SEED)
    secret = set(secured.names)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if name in secret and parameter.dim() > 1:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(spread * parameter.float().square().mean().sqrt() * noise.to(parameter))
    return other


class Turns:
    """Two oracles behind one; stands where linear_map.fit takes an oracle. Texts are told apart by their tokens."""

    def __init__(self, both: list[Oracle], samples: list[dict], way: str):
        self.both = both
        self.view, self.secured = both[0].view, both[0].secured
        self.way = way
        self.whose = {tuple(sample["input_ids"]): number % 2 for number, sample in enumerate(samples)}

    def boundary(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """As Oracle.boundary: each text's states by the one whose turn it is; the mean of both where both are asked."""
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


def measured(
    victim: PreTrainedModel,
    secured: SecuredSet,
    tokenizer,
    samples: list[dict],
    held_out: list[dict],
    spreads: tuple[float, ...] = SPREADS,
) -> list[dict]:
    """For each spread a row of the customer's model, attack "none", and one for each way; columns of schema.TURNS.

    samples: askings of the thief. Every row is the mean over both bottoms, as half of the texts meet each: the customer
    is set beside the first, a thief beside both.
    """
    pad_id = tokenizer.pad_token_id
    rows = []
    for spread in spreads:
        both = [victim, twin(victim, secured, spread)]
        plain = [fidelity.Remembered(lambda model=model: model) for model in both]
        served = mean([scored(model, plain[0], tokenizer, held_out) for model in both])
        nobody = {"spread": spread, "attack": "none", "adapts": "no", "queries": 0, "tokens": 0}
        rows.append(nobody | served)
        for way in WAYS if spread else WAYS[:1]:
            texts = asked(samples, way)
            oracle = Turns([Oracle(model, secured, pad_id) for model in both], samples, way)
            thief = replica(victim, secured, oracle, texts)
            tokens = sum(len(sample["input_ids"]) for sample in (samples if way == TOLD else texts))
            spent = {"queries": len(samples), "tokens": tokens * (2 if way == TWICE else 1)}
            row = {"spread": spread, "attack": LINEAR, "adapts": way} | spent
            rows.append(row | mean([scored(thief, one, tokenizer, held_out) for one in plain]))
            print(spread, way, rows[-1]["agreement"], flush=True)
    return rows


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
        samples = sampling.texts("attack", own.tokenizer, LENGTH, wanted.texts)
        found = measured(own.victim, secured, own.tokenizer, samples, own.web_texts())
        named = own.identity(secured) | {"seed": SEED}
        schema.write([named | row for row in found], schema.TURNS, wanted.folder / TURNS_FILE)


if __name__ == "__main__":
    command()
