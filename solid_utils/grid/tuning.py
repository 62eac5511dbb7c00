"""Which rate, how many steps for a customer? Tries on validation problems: what each gains, and what it forgets.

python -m solid_utils.grid.tuning [MODEL ...]      into reference/MACHINE/customization/MODEL/tries.csv

The fully open model by LoRA; no test problem is scored. The rule, fixed before the first try: metrics/recipe_choice.py.
The recipes `tuned` and `chosen` of configs/customization.yaml are tries of these. A file that is there is left alone.
"""

from torch import nn

from solid_utils.core import paths, schema
from solid_utils.core.errors import StudyError, one_line
from solid_utils.customization.customization import CustomizationRun
from solid_utils.evaluation import fidelity
from solid_utils.grid import customer_cells, shared
from solid_utils.grid.customer_cells import CustomerCell
from solid_utils.grid.domain_sets import DomainRun, sets_of
from solid_utils.metrics.recipe_choice import DOMAIN
from solid_utils.model import models, sampling
from solid_utils.model.forward import measuring
from solid_utils.model.generation import generate
from solid_utils.settings import params

MODEL = "smollm2-135m"
RATES = ((1e-4, 120), (2e-4, 120), (2e-4, 240), (5e-4, 40), (5e-4, 120), (1e-3, 40))  # learning rate, steps
TRIES = [(DOMAIN, *rate) for rate in RATES] + [("code", 2e-4, 120)]
SEED = 7
BATCH = 8
MOST_SAMPLES = 1120  # of a domain's training problems; more steps see them again
TEXTS = 48  # general validation texts, for the distance from the untouched model
# Asked in writing and with other examples than the benchmark of one-digit sums has, which is scored later.
SUMS = [(one, other) for one in range(2, 10) for other in range(2, 10)]
SUM = "4 + 3 = 7\n1 + 5 = 6\n{} + {} ="
SUM_TOKENS = 4


def tried(model: str, study: params.Params, domain: str, rate: float, steps: int) -> CustomizationRun:
    """The customization of one try, not yet trained."""
    name = f"try_{rate:g}x{steps}"
    recipe = {"learning_rate": rate, "steps": steps, "samples": min(BATCH * steps, MOST_SAMPLES)}
    if study.customers is None:
        raise StudyError("configs/customization.yaml: missing; take it from the repository again")
    listed = study.customers.model_copy(update={"recipes": {name: recipe}})
    cell = CustomerCell(model, "fully_open", domain, name, SEED)
    sets_of(domain, study)
    return DomainRun(model, cell.name, cell.study(study.model_copy(update={"customers": listed})))


def sums(model: nn.Module, run: CustomizationRun) -> float:
    """Share of one-digit sums that the model writes right: the first line of at most four greedy tokens."""
    right = 0
    pad_id = run.tokenizer.pad_token_id
    for one, other in SUMS:
        prompt = run.tokenizer(SUM.format(one, other)).input_ids
        with models.precision(run.spec), measuring(model):
            (said,) = generate(model, [prompt], SUM_TOKENS, pad_id)
        lines = run.tokenizer.decode(said, skip_special_tokens=True).strip().split("\n")
        right += lines[0].strip() == str(one + other)
    return right / len(SUMS)


def distance(model: nn.Module, run: CustomizationRun) -> float:
    """KL of the untouched model from the customized one on general validation texts, nats."""
    texts = sampling.samples("validation", run.tokenizer, run.budget.length, TEXTS)
    with models.precision(run.spec):
        scored = fidelity.fidelity(model, run.victim, run.tokenizer, texts)
    (found,) = (row["value"] for row in scored.rows if row["metric"] == "kl")
    return found


def made(model: str, study: params.Params) -> list[dict]:
    """Rows of schema.TRIES, one a try; prints a line a try."""
    rows = []
    for domain, rate, steps in TRIES:
        run = tried(model, study, domain, rate, steps)
        end = run.train()[-1]
        customized = run.customized()
        row = {"model": model, "revision": run.revision, "tier": customer_cells.TIER, "dtype": run.spec.dtype}
        row |= {"trained_on": domain, "recipe": run.recipe.words(domain), "learning_rate": rate, "steps": steps}
        row |= {"seed": SEED, "n": len(run.sets["validation"]), "sums": len(SUMS)}
        row |= {name: end[name] for name in ("validation_cross_entropy", "validation_exact_match")}
        row |= {"sums_before": sums(run.victim, run), "sums_after": sums(customized, run)}
        rows.append(row | {"kl": distance(customized, run)})
        run.state.discard()
        print(
            f"tuning: {domain}, {rate:g}, {steps} steps: cross-entropy {end['validation_cross_entropy']:.2f}, "
            f"sums {row['sums_before']:.0%} -> {row['sums_after']:.0%}",
            flush=True,
        )
    return rows


def main() -> None:
    title, name = __doc__.splitlines()[0], customer_cells.NAME
    shared.a_file_a_model(title, "tuning", paths.TRIES_FILE, schema.TRIES, lambda _: [MODEL], made, name)


if __name__ == "__main__":
    with one_line():
        main()
