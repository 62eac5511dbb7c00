"""The customer's side: fine-tune the open part of a deployment on private data (paper B.6)."""

from functools import cached_property

import numpy as np
import torch
from torch import nn

from solid_utils.core import files, folders, paths, schema
from solid_utils.core.scored import Scored
from solid_utils.customization import adapter, boundary, declared, gsm8k, noise, preference, scoring, written
from solid_utils.customization.methods.method import count, on_meta, requires_grad
from solid_utils.deployment.deployment_set import deployment_set
from solid_utils.deployment.described import facts
from solid_utils.deployment.frozen import frozen
from solid_utils.evaluation import fidelity, published_tasks
from solid_utils.model import guard, hub, models, sampling
from solid_utils.model.answers import batches, sample_losses
from solid_utils.model.state import State
from solid_utils.model.structure import layer_parameters, parameters_after_layers
from solid_utils.settings import params
from solid_utils.settings.customization_params import check_domain
from solid_utils.training import lora, packed, training


class CustomizationRun:
    """A customization of one deployment of one model, as `customizations.RUN` in params.yaml describes it."""

    items_in = paths.SETS  # the folder of its domain's sets

    def __init__(self, model: str, run: str, study: params.Params | None = None):
        self.study = study or params.load()
        torch.set_num_threads(self.study.threads)
        self.model = model
        self.run = run
        self.spec = self.study.model(model)
        self.budget = self.study.budgets(model)
        self.customization = params.pick(self.study.customizations, run, "customizations")
        check_domain(run, self.customization.domain, self.study.domains_there)
        self.recipe = declared.method(self.study, model, run)
        declared.check_pairs(run, self.customization.domain, self.recipe)
        self.recipe.check_installed()
        self.victim, self.tokenizer, self.revision = models.load_victim(model, self.spec)
        self.secured = deployment_set(self.victim, model, self.customization.secured)
        self.sets = self._sets()
        self.evaluation = sampling.held_out(self.tokenizer, self.budget.length, self.budget.evaluation)
        guard.check(self.victim, self._texts("train"), self.tokenizer.pad_token_id)
        self.trained = self._trained()
        settings = {"model": self.spec, "run": self.customization, "budget": self.budget, "revision": self.revision}
        settings |= self._scored_with | {"method": self.recipe}
        if self.study.offline(self.customization.domain):
            settings["domain"] = self.study.domains[self.customization.domain]
            settings["items"] = sampling.digests(self.customization.domain, self.items_in)
        self.state = State(f"{model}/customizations/{run}", settings | {"secured": self.secured}, "customization")

    def _sets(self) -> dict[str, list[dict]]:
        """Training, validation and test problems, or pairs where the method trains on those."""
        recipe, domain = self.recipe, self.customization.domain
        read = preference.pairs if recipe.pairs else sampling.samples
        fit = self.tokenizer, self.budget.length
        sizes = {"train": recipe.samples, "validation": recipe.validation, "test": recipe.test}
        return {
            name: read(f"{domain}_{name}", *fit, size, sampling.read_set(f"{domain}_{name}", self.items_in))
            for name, size in sizes.items()
        }

    def _texts(self, name: str) -> list[dict]:
        """A set as samples with one answer, of pairs the better one."""
        return [pair["better"] for pair in self.sets[name]] if self.recipe.pairs else self.sets[name]

    def _trained(self) -> int:
        """Scalars that are trained; says what is reached, or that nothing is."""
        if self.closed:
            print("nothing is open, so nothing is trained: the scores are the untouched model's (paper, C.3)")
            return 0
        if said := self.recipe.reach(self.victim, self.secured):
            print(said)
        return count(*self._shell())

    def _shell(self) -> tuple[nn.Module, set[str]]:
        """What would be trained, and the names of it: adapters are put into a model without values.

        Where there are none the victim says it: what stands before its layers is found by a forward, by values.
        """
        model = on_meta(type(self.victim), self.victim.config) if self.recipe.adapters else self.victim
        return self.recipe.shell(model, self.secured)

    @cached_property
    def below(self) -> int:
        """Scalars of the bottom layers that run forward alone: neither they nor anything before them is trained."""
        plain, inside = lora.unwrapped(*self._shell())
        last = boundary.frontier(plain, inside, parameters_after_layers(self.victim))
        return count(self.victim, {name for names in layer_parameters(self.victim)[: last + 1] for name in names})

    @property
    def closed(self) -> bool:
        """Is everything secured?"""
        return self.secured.is_whole_model

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return 0 if self.closed else self.recipe.total_steps(len(self.sets["train"]))

    @property
    def _scored_with(self) -> dict:
        """Settings that the published scores depend on."""
        published = self.study.published
        return {"published": published, "copies": hub.copies_read(published), "allow_code": self.study.allow_code}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Cross-entropy in nats and exact match on the validation problems.

        Of pairs: cross-entropy of the better answers, by how many nats a token they are likelier, the share that is.
        """
        pad_id = self.tokenizer.pad_token_id
        samples = self.sets["validation"]
        with models.precision(self.spec), torch.inference_mode():
            if self.recipe.pairs:
                margins = preference.margins(model, samples, pad_id)
                losses = preference.losses(model, self._texts("validation"), pad_id)
                means = {"cross_entropy": losses.mean(), "margin": margins.mean(), "preferred": (margins > 0).mean()}
                return {name: float(value) for name, value in means.items()}
            parts = batches(samples, pad_id, next(model.parameters()).device)
            losses = np.concatenate([sample_losses(model, batch)[:, 0] for batch in parts])
            return {
                "cross_entropy": float(losses.mean()),
                "exact_match": float(scoring.exact_matches(model, samples, pad_id).mean()),
            }

    def before(self) -> Scored:
        """Scores of the untouched model: exact match on the test problems; the victim's scores as they stand, or with
        the published suite its scores on the domain's benchmarks.
        """
        return scoring.once(self.state, "before", self._before)

    def _before(self) -> Scored:
        with models.precision(self.spec):
            scored = self._domain_scores(self.victim)
            if not self.customization.forgotten:
                return scored
            if self.budget.evaluation.suite == "published":
                return scored + self._published(self.victim, self._of_the_victim())
        folder = paths.RUNS / self.model / "victim"
        rows = schema.read(folder / "scores.csv", schema.SCORES)[schema.OUTCOME]
        items = schema.read(folder / "items.csv", schema.ITEMS)[["benchmark", "item", "value", "weight"]]
        return scored + Scored(rows.to_dict("records"), items.to_dict("records"))

    def after(self) -> Scored:
        """Scores of the customized model; none where everything is secured, as `before` has them."""
        return Scored() if self.closed else scoring.once(self.state, "after", lambda: self.scores(self.customized()))

    def scores(self, model: nn.Module) -> Scored:
        """Exact match on the test problems, by kind; fidelity to the victim and benchmarks show what was forgotten.

        With the published suite the benchmarks are the domain's, as in the paper (B.5). The problems alone where the
        run says `forgotten: false`.
        """
        with models.precision(self.spec):
            scored = self._domain_scores(model)
            if not self.customization.forgotten:
                return scored
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
        domain = self.customization.domain
        return scoring.published_scores(model, self.tokenizer, self.study, domain, limit, kept)

    def _domain_scores(self, model: nn.Module) -> Scored:
        domain = self.customization.domain
        score = scoring.offline_scores if self.study.offline(domain) else scoring.domain_scores
        return score(model, self.sets["test"], self.tokenizer, self.recipe.pairs)

    def train(self) -> list[dict]:
        """Fine-tune the open part and keep the customized model as the tensors that differ; returns the history.

        Raises StudyError where a secured tensor is trained, adapted, or changed at the end.
        """
        return self.state.cached("history", self._untouched if self.closed else self._trained_model)

    def _untouched(self) -> list[dict]:
        models.save_delta(self.victim, self.victim, self.state.folder / "customized.safetensors")
        return [{"step": 0} | {f"validation_{name}": value for name, value in self.validate(self.victim).items()}]

    def prepared(self) -> tuple[nn.Module, set[str]]:
        """A copy of the victim as training finds it, and the names of what is trained; seeds torch's own generator."""
        torch.manual_seed(self.recipe.seed)  # LoRA's first matrices and its dropout
        model, names = self.recipe.adapted(models.clone(self.victim), self.secured)
        requires_grad(model, names)
        return model, names

    def _trained_model(self) -> list[dict]:
        model, names = self.prepared()
        before = frozen(model, self.secured)
        with noise.in_training(model, self.secured.noise):
            rows = self.recipe.train(self, model, names)
        frozen(model, self.secured, before)
        if self.recipe.adapters:
            adapter.save(model, self.victim, self.secured, self.model, self.state.folder / adapter.FOLDER)
        # Adapters go into their matrices: a checkpoint holds tensors under the victim's names.
        merged = self.recipe.merged(model, self)
        models.save_delta(merged, self.victim, self.state.folder / "customized.safetensors")
        return rows

    def on_answers(self, model: nn.Module, names: set[str]) -> list[dict]:
        """Train on the answers of the domain's samples, by the engine; from kept states where `cache` asks for them."""
        samples = self.sets["train"]
        loss = packed.chosen(self.recipe.packed)
        pad_id = self.tokenizer.pad_token_id
        folder = self.state.folder
        if self.recipe.cache:
            plain, inside = lora.unwrapped(model, names)
            last = boundary.frontier(plain, inside)
            boundary.check(plain, last, f"customizations.{self.run}")
            with models.precision(self.spec):
                states = boundary.Boundary(plain, last, samples, folder / "boundary", self.recipe.cache, pad_id)
            loss = states.loss(loss)

        def precise(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
            with models.precision(self.spec):
                return loss(model, batch)

        arguments = names, samples, precise, self.validate, self.recipe, self.recipe.seed
        return training.train(model, *arguments, pad_id, folder / "trainer")

    def customized(self) -> nn.Module:
        """The customized model, read back from its bfloat16 checkpoint."""
        model = models.clone(self.victim)
        models.load_delta(model, self.state.folder / "customized.safetensors")
        return model

    def finish(self, scores: Scored, curve: list[dict]) -> None:
        """Write scores, curve, answers and checkpoint, whole, then forget the state."""
        folder = paths.RUNS / self.model / "customizations" / self.run
        scores.write(folder)
        schema.write(curve, schema.CURVE, folder / "curve.csv")
        target = paths.CHECKPOINTS / self.model / "customizations" / self.run
        files.copy(self.state.folder / "customized.safetensors", target / "customized.safetensors")
        files.copy(self.state.folder / "history.json", target / "training.json")
        files.write_json(written.answers(self), target / "answers.json")
        if rows := gsm8k.shown(self):
            files.write_json(rows, target / "gsm8k.json")
        if (made := self.state.folder / adapter.FOLDER).exists():
            with folders.whole(target / adapter.FOLDER) as partial:
                for path in sorted(made.iterdir()):
                    files.copy(path, partial / path.name)
        self.state.discard()  # last: a kill before it loses nothing

    def row(self, steps: int) -> dict:
        """The columns that say what was run; `queries` counts forward calls of a customer, not an attacker's."""
        # As many as were met, not the very ones: batches come shuffled, so `tokens` is near, not exact.
        used = self._texts("train")[: steps * self.recipe.batch]
        return {
            "model": self.model,
            "revision": self.revision,
            "tier": self.study.tier,
            "dtype": self.spec.dtype,
            "deployment": self.customization.secured,
            **facts(self.secured),
            "start": "victim",
            "attack": "none",
            "recipe": self.words,
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

    @property
    def words(self) -> str:
        """The column `recipe`."""
        domain = self.customization.domain
        return f"{domain}, none: nothing is open" if self.closed else self.recipe.words(domain)

    def flops(self, steps: int) -> int:
        """Training FLOPs: 4 a token and parameter passed (forward, backward to states), 2 a token and trained one.

        2 of the layers below all that is trained: no gradient passes a secured bottom.
        """
        if self.closed:
            return 0
        samples = self._texts("train")
        tokens = steps * self.recipe.batch * sum(len(sample["input_ids"]) for sample in samples) // len(samples)
        return tokens * (4 * self.secured.total - 2 * self.below + 2 * self.trained)
