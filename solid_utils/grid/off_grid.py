"""Do the findings hang on the victim's quantisation? The same theft of a victim whose weights are off their grid.

python -m solid_utils.grid.off_grid [MODEL ...]      into reference/MACHINE/scale/MODEL/off_grid.csv

The packaged victim was rounded to 16 levels a block (snapping.py). Here every weight of its decoder layers is drawn
anew from what it may have been before: uniformly within half a step around its level. A file that is there stays.
"""

import torch
from transformers import PreTrainedModel

from solid_utils.core import paths, schema
from solid_utils.core.errors import one_line
from solid_utils.deployment.described import facts
from solid_utils.deployment.secured import secured_set
from solid_utils.evaluation import fidelity
from solid_utils.grid import cells, shared, snapping
from solid_utils.model import models, sampling
from solid_utils.model.structure import layer_parameters
from solid_utils.runtime.pieces import APART, stolen
from solid_utils.runtime.price import scored
from solid_utils.settings import params

SETS = ("layers 0", "layers 0-3")
QUERIES = (10, 100, 400)
LENGTH = 128  # tokens of a text at most, as in the scale study
HELD_OUT = 40  # texts of C4, likewise
SEED = 20
PACKAGED, MOVED = "packaged", "off its grid"


@torch.no_grad()
def moved(victim: PreTrainedModel, seed: int) -> PreTrainedModel:
    """A copy whose layers' matrices are drawn from around their levels. Raises StudyError where they have none."""
    generator = torch.Generator().manual_seed(seed)
    made = models.clone(victim)
    own = dict(made.named_parameters())
    for names in layer_parameters(made):
        for name in sorted(names):
            weight = own[name]
            if weight.ndim < 2:
                continue
            level, step, least = snapping.victims_grid(name, weight)
            within = torch.rand(level.shape, generator=generator, dtype=level.dtype) - 0.5
            weight.copy_(((level + within) * step + least).reshape(weight.shape))
    return made


def made(model: str, study: params.Params) -> list[dict]:
    """Rows of schema.OFF_GRID, one a victim, set and number of texts; prints a line each."""
    spec = study.model(model).model_copy(update={"autocast": None})  # in float32, as a map is fitted
    packaged, tokenizer, revision = models.load_victim(model, spec)
    samples = sampling.texts("attack", tokenizer, LENGTH, max(QUERIES))
    held_out = sampling.apart(tokenizer, LENGTH, HELD_OUT)["c4"]
    identity = {"model": model, "revision": revision, "tier": cells.TIER, "dtype": spec.dtype}
    original = fidelity.Remembered(lambda: packaged)
    rows = []
    for name, victim in ((PACKAGED, packaged), (MOVED, moved(packaged, SEED))):
        plain = fidelity.Remembered(lambda victim=victim: victim)
        own = scored(victim, original, tokenizer, held_out)
        said = {"victim": name, "seed": SEED, "victim_agrees": own["agreement"], "victim_perplexity": own["perplexity"]}
        for declaration in SETS:
            secured = secured_set(victim, declaration)
            for queries in QUERIES:
                asked = samples[:queries]
                replica = stolen(victim, secured, [secured], asked, tokenizer.pad_token_id, APART)
                found = scored(replica, plain, tokenizer, held_out)
                tokens = sum(len(sample["input_ids"]) for sample in asked)
                row = {column: found[column] for column in ("benchmark", "agreement", "stderr", "kl", "n")}
                rows.append(identity | facts(secured) | said | {"queries": queries, "tokens": tokens} | row)
                print(f"off grid: {name}, {declaration}, {queries} texts: {found['agreement']:.3f}", flush=True)
    return rows


def main() -> None:
    title = __doc__.splitlines()[0]
    shared.a_file_a_model(title, "off grid", paths.OFF_GRID_FILE, schema.OFF_GRID, lambda _: [snapping.VICTIM], made)


if __name__ == "__main__":
    with one_line():
        main()
