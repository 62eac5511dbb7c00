"""Scores without training of the secured sets whose final outcome they are compared with, beside the cells of a grid.

python -m solid_utils.grid.set_scores [MODEL ...]     into reference/MACHINE/scale/MODEL/set_scores.csv

The sets are those whose DD the scale study asks for (configs/scale.yaml, difficulty). A file that is there is left
alone; a killed run goes on. What each score took here is printed: no result file holds a time.
"""

from dataclasses import asdict

from solid_utils.core import paths, schema
from solid_utils.core.errors import one_line
from solid_utils.deployment.described import facts
from solid_utils.deployment.secured import secured_set
from solid_utils.difficulty import scores
from solid_utils.difficulty.scores import Scored, Scores
from solid_utils.grid import cells, shared
from solid_utils.model import models, sampling
from solid_utils.model.state import State
from solid_utils.model.structure import decoder_layers
from solid_utils.settings import params

GRID = "scale"


def sets_of(grid: params.Grid, depth: int) -> list[str]:
    """Declarations of the sets of a grid's groups whose DD is asked for."""
    listed = cells.cells(grid, depth, grid.difficulty).values() if grid.difficulty else []
    return list(dict.fromkeys(cell.secured for found in listed for cell in found))


def made(model: str, study: params.Params) -> list[dict]:
    """Rows of schema.SET_SCORES of one victim; prints each set as it ends, and what each score took."""
    spec = study.model(model)
    victim, tokenizer, revision = models.load_victim(model, spec)
    grid = getattr(study, GRID)
    declared_sets = sets_of(grid, len(decoder_layers(victim)[1]))
    sets = [secured_set(victim, declaration) for declaration in declared_sets]
    samples = sampling.texts("attack", tokenizer, scores.LENGTH, scores.TEXTS, drawn=scores.SEED)
    depends = {"model": spec, "revision": revision, "sets": declared_sets}
    work = State(f"{model}/grid-set_scores", depends, "grid")
    score = Scores(victim, samples, tokenizer.pad_token_id, sets)
    dtype = str(victim.dtype).removeprefix("torch.")  # its weights'; no autocast here
    identity = {"model": model, "revision": revision, "tier": cells.TIER, "dtype": dtype}
    rows = []
    took = dict.fromkeys(scores.NAMES, 0.0)
    for number, secured in enumerate(sets):
        kept = work.cached(f"set-{number}", lambda one=secured: asdict(score.of(one.declaration)))
        scored = Scored(**kept)
        rows += [identity | facts(secured) | row for row in scores.rows(scored, len(samples), score.tokens)]
        took = {name: took[name] + scored.seconds[name] for name in took}
        said = ", ".join(f"{name} {value:.4g}" for name, value in scored.values.items())
        print(f"scores: {secured.declaration}: {said}", flush=True)
    for name, seconds in took.items():
        print(f"scores: {name}: {seconds / len(sets):.2f} s a set, alone", flush=True)
    work.discard()
    return rows


def main() -> None:
    title = __doc__.splitlines()[0]
    shared.a_file_a_model(title, "scores", paths.SET_SCORES_FILE, schema.SET_SCORES, lambda s: s.scale.models, made)


if __name__ == "__main__":
    with one_line():
        main()
