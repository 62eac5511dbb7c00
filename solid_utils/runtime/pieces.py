"""Several separated secured pieces: a thief sees what enters and what leaves each, so he takes one after the other.

python -m solid_utils.runtime.pieces MODEL FOLDER 'layers 0-2' 'layers 0,14,29'     FOLDER/pieces.csv

The open layers between two pieces run on the thief's machine, on the victim's own states. One asking of a text shows
all of them. He fits a linear map for each piece: on the states that really enter it, or ("in order") on those that his
replica hands on, so that a later map mends what an earlier one got wrong.
"""

from transformers import PreTrainedModel

from solid_utils.attacks import linear_map
from solid_utils.core import errors, schema
from solid_utils.core.errors import StudyError
from solid_utils.core.paths import PIECES_FILE
from solid_utils.deployment.oracle import Oracle
from solid_utils.deployment.secured import SecuredSet, secured_set
from solid_utils.evaluation import fidelity
from solid_utils.model import models, sampling
from solid_utils.runtime import measured_model
from solid_utils.runtime.adaptive import LENGTH, LINEAR
from solid_utils.runtime.defences import PREVIOUS
from solid_utils.runtime.doors import rows as runs
from solid_utils.runtime.price import scored

APART, IN_ORDER = WAYS = ("no", "in order")


def pieces(victim: PreTrainedModel, secured: SecuredSet) -> list[SecuredSet]:
    """The rows of consecutive layers of a set, each as a set. Raises StudyError for anything but whole layers."""
    if not secured.only_layers:
        raise StudyError(f"pieces: '{secured.declaration}' secures more or less than layers; write layers 0,14,29")
    return [secured_set(victim, f"layers {first}-{last}") for first, last in runs(list(secured.layers))]


def measured(
    victim: PreTrainedModel,
    secured: SecuredSet,
    tokenizer,
    samples: list[dict],
    held_out: list[dict],
    plain: fidelity.Remembered,
) -> list[dict]:
    """The rows of a set, one a way to fit, columns of schema.PIECES without the model's own; of one piece "no" alone.

    samples: what is asked, each once. Agreement and KL are with the victim, whose logits `plain` remembers.
    """
    parts = pieces(victim, secured)
    tokens = sum(len(sample["input_ids"]) for sample in samples)
    rows = []
    for way in WAYS[: len(parts)]:
        replica = stolen(victim, secured, parts, samples, tokenizer.pad_token_id, way)
        asked = {"attack": LINEAR, "adapts": way, "queries": len(samples), "tokens": tokens}
        rows.append({"pieces": len(parts)} | asked | scored(replica, plain, tokenizer, held_out))
        print(secured.declaration, way, rows[-1]["agreement"], flush=True)
    return rows


def stolen(
    victim: PreTrainedModel, secured: SecuredSet, parts: list[SecuredSet], samples: list[dict], pad_id: int, way: str
) -> PreTrainedModel:
    """The open part with a map in place of each piece, bottom first."""
    replica = models.open_part(victim, secured.names)
    for part in parts:
        oracle = Oracle(victim, part, pad_id)
        # What enters a piece: by the victim, whose open layers run here on its own states, or by the replica so far.
        entering = victim if way == APART else replica
        linear_map.install(replica, oracle.view, linear_map.fit(entering, oracle, samples, PREVIOUS))
    return replica


def command() -> None:
    """Take sets of one model, and write what came out after each."""
    parser = measured_model.parser("pieces", "Attack separated secured pieces.", PIECES_FILE)
    parser.add_argument("secured", nargs="+", help="decoder layers, such as 'layers 0,14,29'")
    parser.add_argument("--texts", type=int, default=1600, help="that the thief asks about")
    wanted = parser.parse_args()
    with errors.one_line():
        own = measured_model.load(wanted.model)
        sets = [secured_set(own.victim, declaration) for declaration in wanted.secured]
        samples = sampling.texts("attack", own.tokenizer, LENGTH, wanted.texts)
        held_out = own.web_texts()
        plain = fidelity.Remembered(lambda: own.victim)
        rows = []
        for secured in sets:
            found = measured(own.victim, secured, own.tokenizer, samples, held_out, plain)
            rows += [own.identity(secured) | row for row in found]
            schema.write(rows, schema.PIECES, wanted.folder / PIECES_FILE)


if __name__ == "__main__":
    command()
