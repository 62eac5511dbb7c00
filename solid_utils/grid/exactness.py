"""How exact must a replica be until it answers word for word as the victim does? Noise on what is secret, no attack.

python -m solid_utils.grid.exactness [MODEL ...]      into reference/MACHINE/scale/MODEL/exactness.csv

A thief's error is no noise, but its size can be set beside these: the same sets and prompts as cells of the scale study
have, in float32. A file that is there is left alone.
"""

import math

import torch
from transformers import PreTrainedModel

from solid_utils.core import paths, schema
from solid_utils.core.errors import one_line
from solid_utils.deployment import view
from solid_utils.deployment.described import facts
from solid_utils.deployment.secured import SecuredSet, secured_set
from solid_utils.evaluation import fidelity
from solid_utils.grid import cells, shared
from solid_utils.model import accelerator, models, sampling
from solid_utils.model.forward import length_batches, measuring, pad
from solid_utils.model.layers import DecoderLayers
from solid_utils.settings import params

GRID = "scale"
SECURED = "layers 0"
SIZES = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)  # of a matrix's standard deviation
SEED = 20
ROOM_SHARE = 0.25  # of memory, for the victim's logits, which every size is compared with
TOKENS = 4096  # of a forward that measures states


def noisy(victim: PreTrainedModel, secured: SecuredSet, size: float, seed: int) -> PreTrainedModel:
    """The victim with N(0, (size x std)^2) added to each secret matrix; vectors stay, and what is open is shared."""
    generator = torch.Generator().manual_seed(seed)
    made = models.open_part(victim, secured.names, shared=True)
    own, theirs = dict(made.named_parameters()), dict(victim.named_parameters())
    with torch.no_grad():
        for name in sorted(secured.names):
            own[name].copy_(theirs[name])
            if own[name].ndim > 1:
                drawn = torch.randn(own[name].shape, generator=generator).to(own[name].device)
                own[name] += (size * theirs[name].std() * drawn).to(own[name].dtype)
    return made


@torch.inference_mode()
def state_error(
    replica: PreTrainedModel, victim: PreTrainedModel, last: int, samples: list[dict], pad_id: int
) -> float:
    """Root mean square of |s - t| / |t| over tokens but first ones, of states behind layer `last` (0-based)."""
    total, count = 0.0, 0
    for group in length_batches([len(sample["input_ids"]) for sample in samples], TOKENS):
        input_ids, mask = pad([samples[index]["input_ids"] for index in group], pad_id)
        mask[:, 0] = 0
        states = []
        for model in (replica, victim):
            with measuring(model):
                states.append(DecoderLayers(model).boundary(input_ids.to(model.device), last)[mask.bool()].double())
        own, theirs = states
        total += ((own - theirs).square().sum(1) / theirs.square().sum(1)).sum().item()
        count += len(own)
    return math.sqrt(total / count)


def made(model: str, study: params.Params) -> list[dict]:
    """Rows of schema.EXACTNESS, one a size and set of held-out texts; prints a line a size."""
    # In float32: where products are rounded to bfloat16, noise of a thousandth is drowned by the rounding.
    spec = study.model(model).model_copy(update={"autocast": None})
    victim, tokenizer, revision = models.load_victim(model, spec)
    secured = secured_set(victim, SECURED)
    last = view.view(victim, secured).last
    grid = getattr(study, GRID)
    tier = params.merge(study.tiers[grid.tier], {"evaluation": grid.evaluation})  # what every cell is scored on
    budget = study.model_copy(update={"tier": grid.tier, "tiers": {grid.tier: tier}}).budgets(model)
    sets = sampling.held_out(tokenizer, budget.length, budget.evaluation)
    remembered = fidelity.Remembered(lambda: victim, ROOM_SHARE * accelerator.memory_share())
    identity = {"model": model, "revision": revision, "tier": cells.TIER, "dtype": spec.dtype}
    rows = []
    for size in SIZES:
        replica = noisy(victim, secured, size, SEED)
        with models.precision(spec):
            error = state_error(replica, victim, last, next(iter(sets.values())), tokenizer.pad_token_id)
            scored = fidelity.held_out(replica, remembered, tokenizer, sets, budget.evaluation)
        found = {(row["benchmark"], row["metric"]): row for row in scored.rows}
        for name in sets:
            agreement, same = found[name, "agreement"], found[name, "greedy_match"]
            values = {"agreement": agreement["value"], "kl": found[name, "kl"]["value"], "n": agreement["n"]}
            values |= {"greedy_match": same["value"], "prompts": same["n"]}
            said = {"noise": size, "seed": SEED, "state_error": error, "benchmark": name}
            rows.append(identity | facts(secured) | said | values)
        same = [row["greedy_match"] for row in rows[-len(sets) :]]
        print(f"exactness: noise {size:g}: states off by {error:.2g}, same answers {same}", flush=True)
    return rows


def main() -> None:
    title = __doc__.splitlines()[0]
    shared.a_file_a_model(title, "exactness", paths.EXACTNESS_FILE, schema.EXACTNESS, lambda s: s.study.models, made)


if __name__ == "__main__":
    with one_line():
        main()
