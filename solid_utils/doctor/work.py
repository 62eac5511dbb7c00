"""What each stage of the study takes, counted from settings and shapes: FLOPs, decoding steps, memory, disk.

Nothing is trained or loaded. Samples count with their full length, starts as if no two runs shared one, and the scan as
if every window were a single layer, so the counts are upper bounds; attention scores are left out, as everywhere here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from transformers import PreTrainedConfig

from solid_utils.attacks import declared
from solid_utils.attacks.accounting import Account
from solid_utils.core import paths, readers
from solid_utils.core.errors import StudyError
from solid_utils.customization import declared as customizations
from solid_utils.customization.methods import simpo
from solid_utils.deployment import starts, view
from solid_utils.deployment.cost import multiplied
from solid_utils.deployment.secured import SecuredSet
from solid_utils.difficulty.difficulty import usual_room
from solid_utils.difficulty.weights import Skeleton
from solid_utils.model import sampling
from solid_utils.recommend.plan import PROGRAM, Planner
from solid_utils.settings import params
from solid_utils.settings.attack_params import Recipe
from solid_utils.training import lora, memory

# Tokens of all requests of a suite, each read whole, by SmolLM2's tokenizer; counted with the packaged data.
# HumanEval is not among them; of the published suite nothing was counted.
SUITE_TOKENS = {"small": 116_790, "full": 1_782_775}
SIZES = 8  # shares of the model that notebook 02 scores
KEPT_LOGITS = 0.8e9  # bytes of the victim's logits that a run keeps (fidelity.Remembered)
SAVED = 2 * 12  # bytes a trained parameter: weights and moments, and Trainer saves before it drops the last checkpoint
COPIES = 2  # of the weights: the victim and the attacker's or customer's model


@dataclass(frozen=True)
class Stage:
    """What one stage takes. `memory`: bytes of the device at most; `disk`, `scratch`: bytes kept, and while it runs."""

    name: str
    flops: float = 0.0
    decoded: int = 0  # steps of greedy decoding, one after the other, whatever the batch
    drawn: float = 0.0  # random numbers
    memory: float = 0.0
    disk: float = 0.0
    scratch: float = 0.0


class Work:
    """The stages of one model of the study."""

    def __init__(self, study: params.Params, model: str, skeleton: Skeleton, room: float, gpu: bool):
        """`room`: bytes of the device's memory; is it a `gpu`?"""
        self.study = study
        self.model = model
        self.skeleton = skeleton
        self.room = room
        self.gpu = room if gpu else 0
        self.budget = study.budgets(model)
        self.spec = study.model(model)
        self.weights = sum(parameter.nbytes for parameter in skeleton.parameters.values())
        self.config = skeleton.model.config.get_text_config()

    @cached_property
    def per_token(self) -> int:
        """FLOPs of one forward of the whole model."""
        return 2 * multiplied(self.skeleton.model, self.skeleton.secured("all"))

    @cached_property
    def l_star(self) -> int:
        """Where the SOLID search ended; 1 before it ran."""
        path = paths.RUNS / self.model / "dd" / "l_star.json"
        return (
            readers.read_number(path, "l_star", f"delete it and run `dvc repro dd@{self.model}`")
            if path.exists()
            else 1
        )

    def secured(self, declaration: str) -> SecuredSet:
        return self.skeleton.secured(declaration, self.l_star)

    def samples(self, count: int, length: int) -> list[dict]:
        """Made-up samples, all of full length, the answer from three quarters on."""
        return [{"input_ids": range(length), "answer_start": 3 * length // 4}] * count

    def stages(self) -> Iterator[Stage]:
        """All stages of this model, in the order in which they run."""
        size = 2 * sum(parameter.numel() for parameter in self.skeleton.parameters.values())  # bfloat16 files
        yield Stage("victim", disk=size)  # on the CPU
        yield self.labels()
        yield Stage("baseline", *self.scored(), memory=PROGRAM + COPIES * self.weights + KEPT_LOGITS)
        yield self.search("dd", self.prefixes())
        yield self.search("scan", self.places())
        for run in self.study.study.attacks:
            yield self.attack(run)
        for run in self.study.study.customizations:
            yield self.customization(run)

    def labels(self) -> Stage:
        """The victim's answers, clean and noisy."""
        asked = self.budget.labels
        count = self.budget.attack.ft.queries + self.budget.attack.validation
        batches = -(-count // asked.batch)
        length = self.budget.length + asked.new_tokens
        heads = getattr(self.config, "num_key_value_heads", None) or self.config.num_attention_heads
        kept = 2 * heads * (self.config.hidden_size // self.config.num_attention_heads) * self.config.num_hidden_layers
        cache = asked.batch * length * kept * self.skeleton.model.dtype.itemsize
        work = 2 * count * length * self.per_token
        return Stage("labels", work, 2 * batches * asked.new_tokens, memory=PROGRAM + self.weights + cache)

    def scored(self) -> tuple[float, int]:
        """(FLOPs, decoding steps) of scoring a model once: fidelity, greedy answers, benchmarks."""
        wanted = self.budget.evaluation
        tokens = wanted.samples * self.budget.length
        tokens += len(sampling.APART) * wanted.apart.texts * wanted.apart.length
        tokens += (1 + len(sampling.APART)) * wanted.greedy.prompts * self.budget.length
        tokens += SUITE_TOKENS.get(wanted.suite, 0)
        return tokens * self.per_token, (1 + len(sampling.APART)) * wanted.greedy.new_tokens

    def prefixes(self) -> list[str]:
        return ["none", "all", *(f"bottom {layers}" for layers in range(1, len(self.skeleton.layers) + 1))]

    def places(self) -> list[str]:
        """What notebook 02 scores, roughly: every layer, and some sets as large as its shares of the model."""
        depth = len(self.skeleton.layers)
        sizes = [f"bottom {max(1, depth * number // SIZES)}" for number in range(1, SIZES + 1)]
        return [*(f"layers {layer}" for layer in range(depth)), *dict.fromkeys(sizes)]

    def search(self, name: str, sets: list[str]) -> Stage:
        """Notebook 01 or 02. Raises StudyError where the memory does not hold one batch."""
        wanted = self.budget.difficulty if name == "dd" else self.budget.scan
        planner = Planner(
            self.skeleton, self.samples(wanted.samples, self.budget.length), wanted.start, self.room, False
        )
        chosen = [self.skeleton.secured(one) for one in sets]
        candidates = list(dict.fromkeys(planner.sweep.candidate(one, seed) for one in chosen for seed in wanted.seeds))
        plan = planner.plan(sets, wanted.seeds, usual_room(planner.sweep, candidates, planner.sizes, self.gpu))
        # 01 searches once more under the other start, and fits temperatures; 02 tries every start of one set.
        more = 1.25 if name == "dd" else 1 + len(starts.UNAIDED) / len(sets)
        return Stage(name, more * plan.flops, drawn=more * plan.drawn, memory=plan.peak)

    def attack(self, run: str) -> Stage:
        """Notebook 03: recording, training, validation, and the scores of start and end, for every seed."""
        attack = declared.attack(self.study, run)
        recipe = declared.recipe(self.study, self.model, run)
        secured = self.secured(attack.secured)
        tier = self.budget.attack
        model = self.skeleton.model
        length = recipe.length or self.budget.length
        with self.skeleton.layers.idle():
            seen = view.view(model, secured)
            replaced = attack.replaced(model, secured)
            adapters = lora.size(model, secured, recipe.rank) if recipe.method == "lora" else 0
        samples = self.samples(recipe.queries, length)
        validation = self.samples(tier.validation, self.budget.length)
        width = self.config.hidden_size
        account = Account(attack, recipe, replaced, seen, samples, validation, width, adapters, {}, tier.labels)
        steps = account.own_steps
        records = 0 if attack.on_answers else recipe.queries * length
        work, decoded = self.scored()
        checks = 2 + (0 if attack.fitted else steps // recipe.validate_every)
        work = 2 * work + checks * tier.validation * self.budget.length * self.per_token
        work += attack.flops(account, steps) + records * self.per_token
        trained = replaced.total if attack.opens and not adapters else replaced.parameters + adapters
        names = set(self.skeleton.parameters) if trained == replaced.total else set(secured.names)
        share = 1.0 if attack.on_answers else attack.worked(account) / replaced.total
        needed = 0 if attack.fitted else self.training(recipe, names, length, share, adapters, attack.attack)
        states = records * width * self.skeleton.model.dtype.itemsize * (2 if seen.first else 1)
        seeds = len(tier.seeds)
        return Stage(
            f"attack {run}",
            seeds * work,
            seeds * 2 * decoded,
            memory=PROGRAM + COPIES * self.weights + KEPT_LOGITS + needed,
            disk=2 * seeds * trained,
            scratch=states + SAVED * trained,
        )

    def training(self, recipe: Recipe, names: set[str], length: int, share: float, adapters: int, kind: str) -> float:
        """Bytes that training takes beside the models; memory.needs, adapters included."""
        parallel = self.spec.parallel.get(kind, params.Parallel())
        rows = max(1, recipe.batch // parallel.processes)
        tokens = min(rows * length, recipe.device_tokens or rows * length)
        parts = parallel.processes if parallel.shard else 1
        needs = memory.needs(self.skeleton.model, names, tokens, share, parts)
        return sum(needs.values()) + 16 * adapters + 5e8  # as memory.check_fits has it

    def customization(self, run: str) -> Stage:
        """Notebook 04: training, validation, exact matches, and the scores of the customized model."""
        recipe = customizations.method(self.study, self.model, run)
        secured = self.secured(self.study.customizations[run].secured)
        if secured.is_whole_model:
            return Stage(f"customize {run}")  # nothing is open: the baseline's scores
        adapters = lora.size(self.skeleton.model, secured, recipe.rank) if recipe.adapters else 0
        trained = adapters or secured.total - secured.parameters
        steps = recipe.total_steps(recipe.samples)
        length = self.budget.length
        work, decoded = self.scored()
        # Validation reads its problems twice, for their losses and their likeliest tokens; the test problems meet both.
        read = 2 * (2 + steps // recipe.validate_every) * recipe.validation + 2 * recipe.test
        work += read * length * self.per_token
        work += steps * recipe.batch * length * (4 * secured.total + 2 * trained)
        names = set() if adapters else set(self.skeleton.parameters) - set(secured.names)
        needed = self.training(recipe, names, length, 1.0, adapters, "customization")
        if recipe.pairs:
            needed = sum(simpo.needs(recipe, self.skeleton.model, names, length).values()) + 16 * adapters + 5e8
        changed = secured.total - secured.parameters  # merged adapters touch every open matrix
        return Stage(
            f"customize {run}",
            work,
            decoded,
            memory=PROGRAM + COPIES * self.weights + KEPT_LOGITS + needed,
            disk=2 * changed,
            scratch=SAVED * trained,
        )


def stages(study: params.Params, model: str, skeleton: Skeleton, room: float, gpu: bool) -> list[Stage]:
    """What every stage of one model takes. Raises StudyError where a declaration does not fit the model."""
    return list(Work(study, model, skeleton, room, gpu).stages())


def skeleton_of(config: PreTrainedConfig, spec: params.Model) -> Skeleton:
    """The model without values. Raises StudyError where it is no causal language model of Transformers' own."""
    try:
        return Skeleton(config, getattr(torch, spec.weights))
    except ValueError as error:
        reason = " ".join(str(error).split())[:120]
        raise StudyError(f"models: {spec.path}: no causal language model ({reason}); choose another") from None
