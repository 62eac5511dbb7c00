"""Does the linear map's curve hang on a victim's quantisation? The same on a victim whose weights are on no grid.

python -m solid_utils.runtime.unquantised MODEL DELTA FOLDER     FOLDER/unquantised.csv

A packaged victim may be a dequantised file: its weights lie on a grid of 16 values a block. A customization of it
(DELTA, notebook 04, trained in float32) moves the weights of its matrices off that grid. Each victim is scored against
itself.
"""

import argparse
from pathlib import Path

import torch
from transformers import PreTrainedModel

from solid_utils.attacks import linear_map
from solid_utils.core import errors, schema
from solid_utils.core.paths import UNQUANTISED_FILE
from solid_utils.deployment.oracle import Oracle
from solid_utils.deployment.secured import SecuredSet, secured_set
from solid_utils.evaluation import fidelity
from solid_utils.model import models, sampling
from solid_utils.runtime.adaptive import LENGTH, LINEAR
from solid_utils.runtime.price import identity, scored, web_texts
from solid_utils.settings import params

PACKAGED, TRAINED = VICTIMS = ("packaged", "trained")
PREVIOUS = 2  # tokens that the linear map looks back
QUERIES = (10, 25, 50, 100, 400, 1600)


def moved(victim: PreTrainedModel, other: PreTrainedModel, secured: SecuredSet) -> tuple[float, float]:
    """Of the secret matrices: the models' distance relative to the first's norm, and the share of weights moved."""
    theirs = dict(other.named_parameters())
    squares = norm = differing = count = 0.0
    for name, parameter in victim.named_parameters():
        if name in secured.names and parameter.dim() > 1:
            off = theirs[name].double() - parameter.double()
            squares += off.square().sum().item()
            norm += parameter.double().square().sum().item()
            differing += (off != 0).sum().item()
            count += off.numel()
    return (squares / norm) ** 0.5, differing / count


def measured(
    victim: PreTrainedModel,
    secured: SecuredSet,
    tokenizer,
    samples: list[dict],
    held_out: list[dict],
    queries: tuple[int, ...] = QUERIES,
) -> list[dict]:
    """A row a number of queries, columns of schema.UNQUANTISED without the victim's own; agreement is with itself."""
    plain = fidelity.Remembered(lambda: victim)
    rows = []
    for count in queries:
        oracle = Oracle(victim, secured, tokenizer.pad_token_id)
        replica = models.open_part(victim, secured.names)
        linear_map.install(replica, oracle.view, linear_map.fit(replica, oracle, samples[:count], PREVIOUS))
        asked = {"attack": LINEAR, "queries": oracle.sequences, "tokens": oracle.tokens}
        rows.append(asked | scored(replica, plain, tokenizer, held_out))
        print(count, rows[-1]["agreement"], flush=True)
    return rows


def command() -> None:
    """Measure one model and one customization of it, and write what came out."""
    parser = argparse.ArgumentParser(prog="solid_utils.runtime.unquantised", description="A victim on no grid.")
    parser.add_argument("model", help="a section of configs/models.yaml")
    parser.add_argument("delta", type=Path, help="a customization's tensors, as notebook 04 keeps them")
    parser.add_argument("folder", type=Path, help=f"where {UNQUANTISED_FILE} is written")
    parser.add_argument("--secured", default="layers 0", help="decoder layers that the customization moved, too")
    wanted = parser.parse_args()
    with errors.one_line():
        study = params.load()
        torch.set_num_threads(study.threads)
        spec, budget = study.model(wanted.model), study.budgets(wanted.model)
        victim, tokenizer, revision = models.load_victim(wanted.model, spec)
        product, _, trained = models.from_customized(models.victim_folder(wanted.model), wanted.delta)
        product = product.to(victim.dtype).eval()
        secured = secured_set(victim, wanted.secured)
        distance, share = moved(victim, product, secured)
        samples, held_out = sampling.texts("attack", tokenizer, LENGTH, max(QUERIES)), web_texts(tokenizer, budget)
        rows = []
        pairs = ((PACKAGED, victim, revision, 0.0, 0.0), (TRAINED, product, trained, distance, share))
        for name, model, its, far, off in pairs:
            own = identity(wanted.model, its, study, secured)
            own |= {"victim": name, "distance": far, "moved": off}
            rows += [own | row for row in measured(model, secured, tokenizer, samples, held_out)]
        schema.write(rows, schema.UNQUANTISED, wanted.folder / UNQUANTISED_FILE)


if __name__ == "__main__":
    command()
