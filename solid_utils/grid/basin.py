"""Is it the way that training comes, or the data, that keeps a thief from the victim's own layer? Starts beside it.

python -m solid_utils.grid.basin [MODEL ...]      into reference/MACHINE/scale/MODEL/basin.csv

The replacement begins at the victim's own first layer with noise on its matrices and is trained as SEM with Muon is
(configs/scale.yaml, recipe `muon`), at a tenth of its rate, on states in float32 of as many texts as the strongest
attack had. From near enough every error could be trained away if the data held what that takes. No attack: nobody has
such a start. A file that is there is left alone; a killed run begins its start anew.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from solid_utils.attacks import distances
from solid_utils.core import paths, schema
from solid_utils.core.errors import one_line
from solid_utils.deployment import view
from solid_utils.deployment.described import facts
from solid_utils.deployment.secured import SecuredSet, secured_set
from solid_utils.grid import cells, shared
from solid_utils.grid.exactness import SECURED, noisy, state_error
from solid_utils.model import models, sampling
from solid_utils.model.layers import DecoderLayers
from solid_utils.settings import params
from solid_utils.settings.attack_params import Recipe
from solid_utils.training import training

SIZES = (0.03, 0.1, 0.3, 1.0)  # of a matrix's standard deviation
SEED = 20
TEXTS = 1600
LENGTH = 128
HELD_OUT = 64  # prompts of the attack's kind that nobody trains on
OWN = 64  # of the texts that it trains on, for the error there
RECIPE = Recipe(
    epochs=2, batch=16, optimizer="muon", learning_rate=3e-4, weight_decay=0.0, schedule="cosine", warmup=0.05,
    validate_every=10**6, loss="relative_mse",
)  # fmt: skip


def trained(
    replica: PreTrainedModel, victim: PreTrainedModel, secured: SecuredSet, last: int, samples: list[dict], pad_id: int
) -> None:
    """SEM in place: the replica's secret tensors towards the victim's states behind layer `last`."""
    own, theirs = DecoderLayers(replica), DecoderLayers(victim)

    def loss(_: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        real = batch["attention_mask"].bool()
        with torch.no_grad():
            wanted = theirs.boundary(batch["input_ids"], last)[real]
        off = distances.relative_mse(own.boundary(batch["input_ids"], last)[real], wanted)
        return distances.mean(off, batch["attention_mask"], RECIPE.first_weight)

    with TemporaryDirectory() as folder:
        training.train(replica, set(secured.names), samples, loss, lambda _: {}, RECIPE, SEED, pad_id, Path(folder))


def made(model: str, study: params.Params) -> list[dict]:
    """Rows of schema.BASIN, one a start; prints a line each."""
    spec = study.model(model).model_copy(update={"autocast": None})  # as in exactness.py
    victim, tokenizer, revision = models.load_victim(model, spec)
    secured = secured_set(victim, SECURED)
    last = view.view(victim, secured).last
    samples = sampling.texts("attack", tokenizer, LENGTH, TEXTS)
    length = study.model_copy(update={"tier": study.scale.tier}).budgets(model).length
    apart = sampling.samples("evaluation", tokenizer, length, HELD_OUT)
    pad_id = tokenizer.pad_token_id
    identity = {"model": model, "revision": revision, "tier": cells.TIER, "dtype": spec.dtype} | facts(secured)
    rows = []
    for size in SIZES:
        replica = noisy(victim, secured, size, SEED)

        def off(texts: list[dict], replica: PreTrainedModel = replica) -> float:
            return state_error(replica.eval(), victim, last, texts, pad_id)

        begun = {"own_start": off(samples[:OWN]), "held_out_start": off(apart)}
        trained(replica, victim, secured, last, samples, pad_id)
        ended = {"own_end": off(samples[:OWN]), "held_out_end": off(apart)}
        steps = RECIPE.total_steps(len(samples))
        rows.append(identity | {"noise": size, "seed": SEED, "texts": TEXTS, "steps": steps} | begun | ended)
        print(
            f"basin: noise {size:g}: own texts {begun['own_start']:.2%} -> {ended['own_end']:.2%}, held-out prompts "
            f"{begun['held_out_start']:.2%} -> {ended['held_out_end']:.2%}",
            flush=True,
        )
    return rows


def main() -> None:
    title = __doc__.splitlines()[0]
    shared.a_file_a_model(title, "basin", paths.BASIN_FILE, schema.BASIN, lambda s: s.study.models, made)


if __name__ == "__main__":
    with one_line():
        main()
