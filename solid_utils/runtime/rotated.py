"""What a secret rotation of the exported model takes from whom: from a public base all, from a linear map nothing.

python -m solid_utils.runtime.rotated MODEL DELTA FOLDER     FOLDER/rotation.csv

The product is a customization (DELTA, notebook 04) of the public base MODEL; its bottom layer is secret. One thief puts
the base's own layer in its place: as it is, then turned by the rotation that he finds in the open weights
(deployment/rotation.py). Another fits the linear map on boundary states.
"""

import argparse
from pathlib import Path

from transformers import PreTrainedModel

from solid_utils.attacks import linear_map
from solid_utils.core import errors, schema
from solid_utils.core.paths import ROTATION_FILE
from solid_utils.deployment import rotation
from solid_utils.deployment.oracle import Oracle
from solid_utils.deployment.secured import SecuredSet, secured_set
from solid_utils.evaluation import fidelity
from solid_utils.model import models, sampling
from solid_utils.runtime import measured_model
from solid_utils.runtime.adaptive import LENGTH, LINEAR
from solid_utils.runtime.defences import PREVIOUS
from solid_utils.runtime.price import scored

PLAIN, TURNED = EXPORTS = ("plain", "rotated")
COPIED, FOUND = ("base copied", "base turned")
SEED = 42


def measured(
    product: PreTrainedModel,
    base: PreTrainedModel,
    secured: SecuredSet,
    tokenizer,
    samples: list[dict],
    held_out: list[dict],
) -> list[dict]:
    """A row an export and attack, columns of schema.ROTATION without the model's own; attack "none" is the export.

    samples: what the linear map asks about; the base's thief asks nothing. Agreement and KL are with the product.
    """
    plain = fidelity.Remembered(lambda: product)
    folded = rotation.exported(base)
    turn = rotation.drawn(product.config.get_text_config().hidden_size, SEED)
    secret = set(secured.names)
    rows = []

    def take(export: str, attack: str, replica: PreTrainedModel, oracle: Oracle | None = None) -> None:
        asked = {"queries": oracle.sequences if oracle else 0, "tokens": oracle.tokens if oracle else 0}
        found = scored(replica, plain, tokenizer, held_out)
        rows.append({"exported": export, "attack": attack, "seed": SEED} | asked | found)
        print(export, attack, found["agreement"], flush=True)

    for name, export in ((PLAIN, rotation.exported(product)), (TURNED, rotation.exported(product, turn))):
        take(name, "none", export)
        opened = models.open_part(export, secret)
        take(name, COPIED, rotation.with_secrets_of(opened, folded, secret))
        turned = rotation.exported(base, rotation.found(folded, opened, secret))
        take(name, FOUND, rotation.with_secrets_of(opened, turned, secret))
        oracle = Oracle(export, secured_set(export, secured.declaration), tokenizer.pad_token_id)
        linear_map.install(opened, oracle.view, linear_map.fit(opened, oracle, samples, PREVIOUS))
        take(name, LINEAR, opened, oracle)
    return rows


def command() -> None:
    """Measure one product of one base, and write what came out."""
    parser = argparse.ArgumentParser(prog="solid_utils.runtime.rotated", description="Attack a rotated export.")
    parser.add_argument("model", help="a section of configs/models.yaml: the public base")
    parser.add_argument("delta", type=Path, help="a customization's tensors, as notebook 04 keeps them")
    parser.add_argument("folder", type=Path, help=f"where {ROTATION_FILE} is written")
    parser.add_argument("--secured", default="layers 0", help="decoder layers")
    parser.add_argument("--texts", type=int, default=400, help="that the linear map asks about")
    wanted = parser.parse_args()
    with errors.one_line():
        own = measured_model.load(wanted.model)
        product, _, revision = models.from_customized(models.victim_folder(wanted.model), wanted.delta)
        product = product.to(own.victim.device, own.victim.dtype).eval()
        secured = secured_set(product, wanted.secured)
        samples = sampling.texts("attack", own.tokenizer, LENGTH, wanted.texts)
        found = measured(product, own.victim, secured, own.tokenizer, samples, own.web_texts())
        named = own.identity(secured) | {"revision": revision}
        schema.write([named | row for row in found], schema.ROTATION, wanted.folder / ROTATION_FILE)


if __name__ == "__main__":
    command()
