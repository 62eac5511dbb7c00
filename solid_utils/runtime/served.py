"""What a defence at the boundary costs the customer on benchmarks, beside its perplexity (price.py).

python -m solid_utils.runtime.served MODEL FOLDER 'layers 0'     FOLDER/served.csv
"""

from transformers import PreTrainedModel

from solid_utils.core import errors, schema
from solid_utils.core.paths import SERVED_FILE
from solid_utils.deployment.secured import SecuredSet, secured_set
from solid_utils.evaluation import published_tasks
from solid_utils.runtime import measured_model
from solid_utils.runtime.defences import defended, shown_after
from solid_utils.runtime.manifest import Boundary
from solid_utils.runtime.price import SHOWN
from solid_utils.settings import params

KEPT = ("benchmark", "metric", "value", "stderr", "n", "chance", "shots", "task_version")


def measured(
    victim: PreTrainedModel,
    secured: SecuredSet,
    tokenizer,
    study: params.Params,
    wanted: params.Evaluation,
    boundaries: list[Boundary] = SHOWN,
) -> list[dict]:
    """A row a defence and benchmark, columns of schema.SERVED without the model's own.

    The customer runs the victim through the defence on the suite of `wanted`, greedy, `limit` items of each at most.
    Raises StudyError where there is no one boundary to defend.
    """
    last = shown_after(victim, secured)
    rows = []
    for boundary in boundaries:
        common = {"rounding": boundary.rounding, "noise": boundary.noise}
        with defended(victim, last, boundary) as customers:
            scores = published_tasks.run_suite(customers, tokenizer, study, wanted).rows
        rows += [common | {name: row[name] for name in KEPT} for row in scores]
        mean = sum(row["value"] for row in scores) / len(scores)
        print(f"{boundary.rounding} {boundary.noise:g}: {mean:.3f} over {len(scores)} benchmarks", flush=True)
    return rows


def command() -> None:
    """Score one model's deployments through each defence, and write what came out after each set."""
    parser = measured_model.parser("served", "Benchmarks through defences.", SERVED_FILE)
    parser.add_argument("secured", nargs="+", help="what is secured, such as 'layers 0'; several, each its own rows")
    parser.add_argument("--limit", type=int, default=50, help="items of a benchmark, at most")
    wanted = parser.parse_args()
    with errors.one_line():
        own = measured_model.load(wanted.model)
        limited = own.budget.evaluation.model_copy(update={"limit": wanted.limit})
        rows = []
        for declaration in wanted.secured:
            secured = secured_set(own.victim, declaration)
            found = measured(own.victim, secured, own.tokenizer, own.study, limited)
            rows += [own.identity(secured) | row for row in found]
            schema.write(rows, schema.SERVED, wanted.folder / SERVED_FILE)


if __name__ == "__main__":
    command()
