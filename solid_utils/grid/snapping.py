"""Can a thief who knows the format of the victim's weights round his own to them? Noise on what is secret, snapped.

python -m solid_utils.grid.snapping [MODEL ...]      into reference/MACHINE/scale/MODEL/snapping.csv

Q4_1 of llama.cpp: 32 weights side by side share a step and a least value, each weight is one of 16 levels. A thief does
not know step and value; he fits both to his own weights. A file that is there is left alone.
"""

import math

import torch
from torch import Tensor
from transformers import PreTrainedModel

from solid_utils.core import paths, schema
from solid_utils.core.errors import StudyError, one_line
from solid_utils.deployment import view
from solid_utils.deployment.described import facts
from solid_utils.deployment.secured import SecuredSet, secured_set
from solid_utils.grid import cells, exactness, shared
from solid_utils.model import models, sampling
from solid_utils.settings import params

VICTIM = "smollm2-135m"  # of the packaged ones the only one whose first layer is of one format
SIZES = (0.1, 0.05, 0.03, 0.02, 0.01, 0.003, 0.001)  # noise, of a matrix's standard deviation
SAMPLES = 24  # held-out prompts that states are measured on
LENGTH = 256  # tokens of one at most
BLOCK = 32
LEVELS = 16
ROUNDS = 5  # of levels and lines by turns; they stand still before
ON_GRID = 0.25  # of a step: more than bfloat16 moves a victim's weight off its grid, less than other weights are off


def grid(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Levels 0 to 15 (blocks, 32), step and least value of each block (blocks, 1) on the grid that fits a weight best.

    By least squares, from the blocks' extremes; step and least value as the format keeps them, in half precision.
    """
    blocks = weight.reshape(-1, BLOCK).double()
    least = blocks.min(1, keepdim=True).values
    step = (blocks.max(1, keepdim=True).values - least) / (LEVELS - 1)
    for _ in range(ROUNDS):
        level = nearest(blocks, step, least)
        mean = level.mean(1, keepdim=True)
        own = blocks.mean(1, keepdim=True)
        spread = (level - mean).square().sum(1, keepdim=True)
        fitted = ((level - mean) * (blocks - own)).sum(1, keepdim=True) / spread
        step = torch.where(spread > 0, fitted, step)  # one level in a whole block: nothing to fit
        least = own - step * mean
    step = step.half().double()
    least = least.half().double()
    return nearest(blocks, step, least), step, least


def levels(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Its levels, and the weight rounded to its grid."""
    level, step, least = grid(weight)
    return level, (level * step + least).reshape(weight.shape).to(weight.dtype)


def nearest(blocks: Tensor, step: Tensor, least: Tensor) -> Tensor:
    """The level of each weight; a block of equal weights has no step, and is at level 0."""
    return ((blocks - least) / step).nan_to_num(0.0).round().clamp(0, LEVELS - 1)


def victims_grid(name: str, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`grid` of a victim's matrix. Raises StudyError where it is on no such grid."""
    if weight.shape[-1] % BLOCK == 0:
        level, step, least = grid(weight)
        off = (level * step + least - weight.reshape(-1, BLOCK)).abs()
        if (off <= ON_GRID * step).all():
            return level, step, least
    raise StudyError(f"snapping: {name} of the victim is on no grid of Q4_1; name a model that was quantised so")


def snapped(replica: PreTrainedModel, victim: PreTrainedModel, secured: SecuredSet) -> dict[str, float]:
    """Round the replica's secret matrices to grids of their own, in place.

    Returns the share of levels that are the victim's, and the weights' error before and after: root mean square over
    all secret matrices, in standard deviations of each. Raises StudyError where the victim is on no such grid.
    """
    own = dict(replica.named_parameters())
    theirs = dict(victim.named_parameters())
    right = noise = error = 0.0
    count = 0
    for name in sorted(secured.names):
        wanted = theirs[name].detach()
        if wanted.ndim < 2:
            continue
        known, _, _ = victims_grid(name, wanted)
        spread = wanted.std()
        level, near = levels(own[name].detach())
        right += (level == known).sum().item()
        noise += ((own[name].detach() - wanted) / spread).double().square().sum().item()
        error += ((near - wanted) / spread).double().square().sum().item()
        count += wanted.numel()
        with torch.no_grad():
            own[name].copy_(near)
    return {
        "levels_right": right / count,
        "weight_error": math.sqrt(noise / count),
        "snapped_weight_error": math.sqrt(error / count),
    }


def made(model: str, study: params.Params) -> list[dict]:
    """Rows of schema.SNAPPING, one a size of noise; prints a line a size."""
    spec = study.model(model).model_copy(update={"autocast": None})  # in float32, as exactness.made
    victim, tokenizer, revision = models.load_victim(model, spec)
    secured = secured_set(victim, exactness.SECURED)
    measured = view.view(victim, secured).last, sampling.samples("evaluation", tokenizer, LENGTH, SAMPLES)
    identity = {"model": model, "revision": revision, "tier": cells.TIER, "dtype": spec.dtype} | facts(secured)
    rows = []
    for size in SIZES:
        replica = exactness.noisy(victim, secured, size, exactness.SEED)
        before = exactness.state_error(replica, victim, *measured, tokenizer.pad_token_id)
        found = snapped(replica, victim, secured)
        after = exactness.state_error(replica, victim, *measured, tokenizer.pad_token_id)
        said = {"noise": size, "seed": exactness.SEED, "state_error": before, "snapped_state_error": after}
        rows.append(identity | said | found)
        print(f"snapping: noise {size:g}: states off by {before:.2g}, snapped {after:.2g}", flush=True)
    return rows


def main() -> None:
    title = __doc__.splitlines()[0]
    shared.a_file_a_model(title, "snapping", paths.SNAPPING_FILE, schema.SNAPPING, lambda _: [VICTIM], made)


if __name__ == "__main__":
    with one_line():
        main()
