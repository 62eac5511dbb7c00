"""DD of the secured sets whose final outcome is compared with it, beside the cells of a grid."""

from transformers import PreTrainedModel

from solid_utils.deployment.described import facts
from solid_utils.deployment.secured import secured_set
from solid_utils.difficulty import difficulty, guard
from solid_utils.model import models, sampling
from solid_utils.model.state import State
from solid_utils.settings import params

KIND = "scale"  # of the rows of schema.DD


def rows(
    model: str, victim: PreTrainedModel, tokenizer, revision: str, study: params.Params, sets: list[str]
) -> list[dict]:
    """Rows of schema.DD, with the tier's own samples, seeds and start; a killed run goes on."""
    spec, budget = study.model(model), study.budgets(model)
    settings = budget.difficulty
    samples = sampling.samples("evaluation", tokenizer, budget.length, settings.samples)
    guard.check(victim, samples, tokenizer.pad_token_id)
    depends = {"budget": settings, "model": spec, "revision": revision, "length": budget.length, "sets": sets}
    work = State(f"{model}/grid-dd", depends, "grid")
    score = difficulty.Difficulty(victim, samples, settings.start, tokenizer.pad_token_id, cached=work.cached)
    with models.precision(spec):
        losses = score.losses(sets, settings.seeds)
    identity = {"model": model, "revision": revision, "tier": study.tier, "dtype": spec.dtype, "calibrated": None}
    identity |= {"kind": KIND, "start": settings.start}
    made = []
    for declaration in sets:
        fixed = identity | facts(secured_set(victim, declaration))
        made += [fixed | row for row in difficulty.summary(losses[declaration])]
    work.discard()
    return made
