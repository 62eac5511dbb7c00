"""A customization of a tiny model on hand-made problems, without a study around it."""

from pathlib import Path

from solid_utils.core.scored import Scored
from solid_utils.customization import preference
from solid_utils.customization.customization import CustomizationRun
from solid_utils.customization.declared import declared
from solid_utils.deployment.secured import secured_set
from solid_utils.model import sampling
from solid_utils.settings import params
from solid_utils.settings.customization_params import CustomizationBudget

LENGTH = 48
RECIPE = {"steps": 3, "batch": 2, "learning_rate": 1e-2, "weight_decay": 0.1, "schedule": "cosine"}
RECIPE |= {"validate_every": 3, "samples": 6, "validation": 2, "test": 2}
ADAPTERS = {"rank": 2, "alpha": 4}


class Kept:
    """A state in a folder that nobody else knows."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def cached(self, name, compute):
        return compute()


def problems(name: str, count: int) -> list[dict]:
    """Sums, and what is wrong beside each."""
    sums = [(number, 3 * number % 7) for number in range(count)]
    return [
        {"id": f"{name}-{a}", "source": "sums", "prompt": f"{a} + {b} = ", "answer": f"{a + b}"}
        | {"chosen": f"{a + b}, sure", "rejected": f"not {a + b + 1}"}
        for a, b in sums
    ]


def method(name: str, **options):
    return declared(CustomizationBudget(method=name, **RECIPE | options), "here")


def run(folder: Path, model, tokenizer, declaration: str, recipe, domain: str = "math") -> CustomizationRun:
    """A CustomizationRun of `model` with sets of its own."""
    made = CustomizationRun.__new__(CustomizationRun)
    made.model, made.run, made.revision = "tiny", f"{declaration}-{domain}", "none"
    study = params.load()
    made.study, made.spec = study, study.model("tiny")
    made.budget = study.model_copy(update={"tier": "tiny"}).budgets("tiny").model_copy(update={"length": LENGTH})
    made.recipe, made.victim, made.tokenizer = recipe, model, tokenizer
    made.customization = params.CustomizationRun(secured=declaration, domain=domain)
    made.secured = secured_set(model, declaration, l_star=1)
    read = preference.pairs if recipe.pairs else sampling.samples
    sizes = {"train": recipe.samples, "validation": recipe.validation, "test": recipe.test}
    made.sets = {name: read(name, tokenizer, LENGTH, n, problems(name, n)) for name, n in sizes.items()}
    made.state = Kept(folder)
    return made


def unscored(made: CustomizationRun) -> CustomizationRun:
    made.scores = lambda model: Scored()
    return made
