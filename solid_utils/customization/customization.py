"""The customer's side: fine-tune the open part of a deployment on private data (paper B.6)."""

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import torch
from torch import nn

from solid_utils.core import files, paths, schema
from solid_utils.core.errors import StudyError
from solid_utils.core.numbers import standard_error
from solid_utils.core.scored import Scored, libraries
from solid_utils.deployment.deployment_set import deployment_set
from solid_utils.deployment.described import facts
from solid_utils.deployment.secured import SecuredSet
from solid_utils.evaluation import fidelity, mt_bench, published_tasks
from solid_utils.model import guard, hub, models, sampling
from solid_utils.model.answers import TOKENS, batches, most_likely, sample_losses
from solid_utils.model.state import State
from solid_utils.settings import params
from solid_utils.settings.recipe_text import recipe_text
from solid_utils.training import lora, training


def adapted(model: nn.Module, secured: SecuredSet, budget: params.CustomizationBudget) -> tuple[nn.Module, set[str]]:
    """The model to fine-tune and the names of what is trained: LoRA on the open layers, or the open part itself."""
    if budget.method == "full":
        return model, {name for name, _ in model.named_parameters()} - set(secured.names)
    return lora.wrapped(model, secured, budget)


def exact_matches(model: nn.Module, samples: list[dict], pad_id: int) -> np.ndarray:
    """1 where greedy decoding gives the sample's answer to the last token, else 0; (samples,)."""
    said = most_likely(model, samples, pad_id)
    pairs = zip(said, samples, strict=True)
    return np.array(
        [float((answer == sample["input_ids"][sample["answer_start"] :]).all()) for answer, sample in pairs]
    )


def domain_row(source: str, matches: np.ndarray) -> dict:
    """The result row of one kind of problem."""
    return {
        "benchmark": source,
        "domain": "customization",
        "shots": 0,
        "metric": "exact_match",
        "value": matches.mean(),
        "stderr": standard_error(matches),
        "n": len(matches),
        "chance": 0.0,
        "floor": None,
        "task_version": 1,
        "forward_tokens": TOKENS,
        "libraries": libraries(),
    }


def published_scores(
    model: nn.Module, tokenizer, study: params.Params, domain: str, limit: int | None, kept: State | None = None
) -> Scored:
    """A domain's benchmarks of the paper's Table 6, and MT-Bench where a judge is set, as customization scores.

    Each part is taken from `kept` where it stands there already, and else put there.
    """
    parts = {
        domain: lambda: published_tasks.run_domain(model, tokenizer, study, domain, limit),
        "mt_bench": lambda: mt_bench.mt_bench(model, tokenizer, study.published, limit),
    }
    scored = [_once(kept, name, part) if kept else part() for name, part in parts.items()]
    whole = sum(scored, Scored())
    return Scored([row | {"domain": "customization"} for row in whole.rows], whole.items)


def _once(state: State, name: str, compute: Callable[[], Scored]) -> Scored:
    return Scored(**state.cached(name, lambda: asdict(compute())))


class CustomizationRun:
    """A customization of one deployment of one model, as `customizations.RUN` in params.yaml describes it."""

    def __init__(self, model: str, run: str):
        self.study = params.load()
        torch.set_num_threads(self.study.threads)
        self.model, self.run = model, run
        self.spec, self.budget = self.study.model(model), self.study.budgets(model)
        self.recipe = self.budget.customization
        self.customization = params.pick(self.study.customizations, run, "customizations")
        domain = self.customization.domain
        if domain not in params.DOMAINS:
            raise StudyError(
                f"customizations.{run}: domain {domain}: its training data come from the hub and are not run here; "
                f"choose {', '.join(params.DOMAINS)}"
            )
        self.victim, self.tokenizer, self.revision = models.load_victim(model, self.spec)
        self.secured = deployment_set(self.victim, model, self.customization.secured)
        recipe = self.recipe
        sizes = {"train": recipe.samples, "validation": recipe.validation, "test": recipe.test}
        self.sets = {
            name: sampling.samples(f"{domain}_{name}", self.tokenizer, self.budget.length, count)
            for name, count in sizes.items()
        }
        self.evaluation = sampling.held_out(self.tokenizer, self.budget.length, self.budget.evaluation)
        guard.check(self.victim, self.sets["train"], self.tokenizer.pad_token_id)
        if recipe.method == "lora":
            print(lora.reach(self.victim, self.secured))
        with torch.device("meta"):  # counted on an empty model
            shell, names = adapted(type(self.victim)(self.victim.config), self.secured, self.recipe)
        self.trained = sum(parameter.numel() for name, parameter in shell.named_parameters() if name in names)
        settings = {"model": self.spec, "run": self.customization, "budget": self.budget, "revision": self.revision}
        settings |= self._scored_with
        self.state = State(f"{model}/customizations/{run}", settings | {"secured": self.secured}, "customization")

    @property
    def _scored_with(self) -> dict:
        """Settings that the published scores depend on."""
        published = self.study.published
        return {"published": published, "copies": hub.copies_read(published), "allow_code": self.study.allow_code}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Cross-entropy in nats and exact match on the validation problems."""
        pad_id, samples = self.tokenizer.pad_token_id, self.sets["validation"]
        with models.precision(self.spec), torch.inference_mode():
            parts = batches(samples, pad_id, next(model.parameters()).device)
            losses = np.concatenate([sample_losses(model, batch)[:, 0] for batch in parts])
            return {
                "cross_entropy": float(losses.mean()),
                "exact_match": float(exact_matches(model, samples, pad_id).mean()),
            }

    def before(self) -> Scored:
        """Scores of the untouched model: exact match on the test problems; the victim's scores as they stand, or with
        the published suite its scores on the domain's benchmarks.
        """
        return _once(self.state, "before", self._before)

    def _before(self) -> Scored:
        with models.precision(self.spec):
            scored = self._domain_scores(self.victim)
            if self.budget.evaluation.suite == "published":
                return scored + self._published(self.victim, self._of_the_victim())
        folder = paths.RUNS / self.model / "victim"
        rows = schema.read(folder / "scores.csv", schema.SCORES)[schema.OUTCOME]
        items = schema.read(folder / "items.csv", schema.ITEMS)[["benchmark", "item", "value", "weight"]]
        return scored + Scored(rows.to_dict("records"), items.to_dict("records"))

    def after(self) -> Scored:
        """Scores of the customized model."""
        return _once(self.state, "after", lambda: self.scores(self.customized()))

    def scores(self, model: nn.Module) -> Scored:
        """Exact match on the test problems, by kind; fidelity to the victim and benchmarks show what was forgotten.

        With the published suite the benchmarks are the domain's, as in the paper (B.5).
        """
        with models.precision(self.spec):
            scored = self._domain_scores(model)
            scored += fidelity.held_out(model, self.victim, self.tokenizer, self.evaluation, self.budget.evaluation)
            if self.budget.evaluation.suite == "published":
                return scored + self._published(model)
            return scored + published_tasks.run_suite(model, self.tokenizer, self.study, self.budget.evaluation)

    def _of_the_victim(self) -> State:
        """The untouched model's published scores, shared by all runs: a judge costs money, and may change its mind."""
        settings = {"model": self.spec, "revision": self.revision, "evaluation": self.budget.evaluation}
        settings |= self._scored_with
        return State(f"{self.model}/published", settings, "customization", shared=True)

    def _published(self, model: nn.Module, kept: State | None = None) -> Scored:
        limit = self.budget.evaluation.limit
        return published_scores(model, self.tokenizer, self.study, self.customization.domain, limit, kept)

    def _domain_scores(self, model: nn.Module) -> Scored:
        samples = self.sets["test"]
        matches = exact_matches(model, samples, self.tokenizer.pad_token_id)
        sources = np.array([sample["source"] for sample in samples])
        rows = [domain_row(source, matches[sources == source]) for source in sorted(set(sources))]
        return Scored(
            rows,
            [
                {"benchmark": sample["source"], "item": sample["id"], "value": float(match), "weight": 1.0}
                for sample, match in zip(samples, matches, strict=True)
            ],
        )

    def train(self) -> list[dict]:
        """Fine-tune the open part and keep the customized model as the tensors that differ; returns the history."""
        kept = self.state.folder / "customized.safetensors"

        def loss(model, batch):
            with models.precision(self.spec):
                return training.answer_loss(model, batch)

        def compute() -> list[dict]:
            torch.manual_seed(self.recipe.seed)  # LoRA's first matrices and its dropout
            model, trainable = adapted(models.clone(self.victim), self.secured, self.recipe)
            arguments = trainable, self.sets["train"], loss, self.validate, self.recipe, self.recipe.seed
            rows = training.train(model, *arguments, self.tokenizer.pad_token_id, self.state.folder / "trainer")
            # Adapters go into their matrices: a checkpoint holds tensors under the victim's names.
            merged = model.merge_and_unload() if self.recipe.method == "lora" else model
            models.save_delta(merged, self.victim, kept)
            return rows

        return self.state.cached("history", compute)

    def customized(self) -> nn.Module:
        """The customized model, read back from its bfloat16 checkpoint."""
        model = models.clone(self.victim)
        models.load_delta(model, self.state.folder / "customized.safetensors")
        return model

    def finish(self, scores: Scored, curve: list[dict]) -> None:
        """Write scores, curve and checkpoint, whole, then forget the state."""
        folder = paths.RUNS / self.model / "customizations" / self.run
        scores.write(folder)
        schema.write(curve, schema.CURVE, folder / "curve.csv")
        target = paths.CHECKPOINTS / self.model / "customizations" / self.run
        files.copy(self.state.folder / "customized.safetensors", target / "customized.safetensors")
        self.state.discard()  # last: a kill before it loses nothing

    def row(self, steps: int) -> dict:
        """The columns that say what was run; `queries` counts forward calls of a customer, not an attacker's."""
        # As many as were met, not the very ones: batches come shuffled, so `tokens` is near, not exact.
        used = self.sets["train"][: steps * self.recipe.batch]
        return {
            "model": self.model,
            "revision": self.revision,
            "tier": self.study.tier,
            "dtype": self.spec.dtype,
            "deployment": self.customization.secured,
            **facts(self.secured),
            "start": "victim",
            "attack": "none",
            "recipe": f"{self.customization.domain}, {self.recipe.method}, {recipe_text(self.recipe)}",
            "batch": self.recipe.batch,
            "view": "none",
            "numbers": 0,
            "labels": "dataset",
            "seed": self.recipe.seed,
            "steps": steps,
            "samples": steps * self.recipe.batch,
            "queries": len(used),
            "tokens": sum(len(sample["input_ids"]) for sample in used),
            "flops": self.flops(steps),
        }

    def flops(self, steps: int) -> int:
        """Training FLOPs: 4 a token and parameter passed (forward, backward to states), 2 a token and trained one."""
        samples = self.sets["train"]
        tokens = steps * self.recipe.batch * sum(len(sample["input_ids"]) for sample in samples) // len(samples)
        return tokens * (4 * self.secured.total + 2 * self.trained)
