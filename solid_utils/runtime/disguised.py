"""A thief whom no monitor of queries sees: he asks texts of the customer's own domain, and fits the linear map on them.

python -m solid_utils.runtime.disguised MODEL FOLDER     FOLDER/disguised.csv

Each domain of notebook 04 by itself, and beside it the attack set's texts, as many of each, scored on web text; and
texts of the attack set so short as one who hides them in front of legitimate text can afford (monitor.BEGUN).
"""

from transformers import PreTrainedModel

from solid_utils.core import errors, schema
from solid_utils.core.paths import DISGUISED_FILE
from solid_utils.deployment.oracle import Oracle
from solid_utils.deployment.secured import SecuredSet, secured_set
from solid_utils.evaluation import fidelity
from solid_utils.model import sampling
from solid_utils.runtime import measured_model
from solid_utils.runtime.adaptive import LENGTH, LINEAR
from solid_utils.runtime.defences import replica
from solid_utils.runtime.monitor import BEGUN, DOMAINS, NATURAL, OWN
from solid_utils.runtime.price import scored


def measured(
    victim: PreTrainedModel, secured: SecuredSet, tokenizer, asked: dict[str, list[dict]], held_out: list[dict]
) -> list[dict]:
    """A row for each kind of texts that were `asked`, columns of schema.DISGUISED without the model's own."""
    plain = fidelity.Remembered(lambda: victim)
    rows = []
    for name, samples in asked.items():
        oracle = Oracle(victim, secured, tokenizer.pad_token_id)
        made = replica(victim, secured, oracle, samples)
        rows.append({"attack": LINEAR, "drawn_from": name, "queries": oracle.sequences, "tokens": oracle.tokens})
        rows[-1] |= scored(made, plain, tokenizer, held_out)
        print(rows[-1], flush=True)
    return rows


def kinds(tokenizer, texts: int) -> dict[str, list[dict]]:
    """So many texts of each kind that a thief may ask about."""
    named = {NATURAL: "attack"} | {name: f"{name}_train" for name in DOMAINS}
    asked = {name: sampling.texts(kind, tokenizer, LENGTH, texts) for name, kind in named.items()}
    # Of such queries his own tokens alone teach him anything, and no later token changes their states.
    return asked | {BEGUN: sampling.texts("attack", tokenizer, OWN, texts)}


def command() -> None:
    """Measure one model's deployment, and write what came out."""
    parser = measured_model.parser("disguised", "Ask as a customer does.", DISGUISED_FILE)
    parser.add_argument("--secured", default="layers 0", help="decoder layers")
    parser.add_argument("--texts", type=int, default=1200, help="of each kind")
    wanted = parser.parse_args()
    with errors.one_line():
        own = measured_model.load(wanted.model)
        secured = secured_set(own.victim, wanted.secured)
        found = measured(own.victim, secured, own.tokenizer, kinds(own.tokenizer, wanted.texts), own.web_texts())
        schema.write([own.identity(secured) | row for row in found], schema.DISGUISED, wanted.folder / DISGUISED_FILE)


if __name__ == "__main__":
    command()
