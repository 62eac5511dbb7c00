"""One attack run: victim, secured set, oracle, start, training, replica, scores. The notebook loops over seeds."""

import json
import shutil
from dataclasses import asdict
from functools import cached_property

import pandas as pd
import torch
from transformers import PreTrainedModel

from solid_utils import data, fidelity, models, params, published_tasks, schema, starts, training
from solid_utils.attacks import Plan, ft, oracle, part, recorded, sem, view
from solid_utils.errors import StudyError
from solid_utils.schema import RESULTS
from solid_utils.scored import Scored
from solid_utils.secured import SecuredSet, secured_set
from solid_utils.state import State


def read_l_star(model: str) -> int:
    """The layers SOLID secures, as the search of notebook 01 found them. Raises StudyError when it has not run."""
    path = RESULTS / model / "dd" / "l_star.json"
    if not path.exists():
        raise StudyError(f"{path}: missing; run `dvc repro dd@{model}` first")
    return json.loads(path.read_text())["l_star"]


def deployment_set(victim: torch.nn.Module, model: str, declaration: str) -> SecuredSet:
    """The secured set of a declaration, with SOLID's search result where it is asked for."""
    return secured_set(victim, declaration, read_l_star(model) if declaration == "solid" else None)


class AttackRun:
    """An attack on one deployment of one model, as `attacks.RUN` in params.yaml describes it."""

    def __init__(self, model: str, run: str, study: params.Params | None = None):
        self.study = study or params.load()
        torch.set_num_threads(self.study.threads)
        self.model, self.run = model, run
        self.spec, self.budget = self.study.model(model), self.study.budgets(model)
        self.attack = params.pick(self.study.attacks, run, "attacks")
        self.recipe = self.study.recipe(model, run)
        self.victim, self.tokenizer, self.revision = models.load_victim(model, self.spec)
        self.secured = deployment_set(self.victim, model, self.attack.secured)
        self.seen = view.view(self.victim, self.secured)
        self.labels = "none" if self.attack.attack == "sem" else self.budget.attack.labels
        if self.labels == "dataset" and self.attack.secured == "sap_dp":
            raise StudyError(
                f"attacks.{run}: labels: dataset makes sap_dp equal to sap; set labels: victim in params.yaml (tiers)"
            )
        self.samples, self.validation = self._queried()
        self.evaluation = data.held_out(self.tokenizer, self.budget.length, self.budget.evaluation)
        self.remembered = fidelity.Remembered(lambda: self.victim)
        settings = {"model": self.spec, "attack": self.attack, "recipe": self.recipe, "budget": self.budget}
        self.state = State(f"{model}/attacks/{run}", settings | {"secured": self.secured, "revision": self.revision})

    @cached_property
    def victim(self) -> PreTrainedModel:
        """The vendor's model: loaded again where it is needed after training had its memory."""
        return models.load_victim(self.model, self.spec)[0]

    def _samples(self, name: str, count: int) -> list[dict]:
        return data.samples(name, self.tokenizer, self.budget.length, count)

    def _queried(self) -> tuple[list[dict], list[dict]]:
        """Training and validation samples: what this attacker asks of the oracle."""
        validation = self._samples("validation", self.budget.attack.validation)
        if self.attack.attack == "sem":
            return data.texts("attack", self.tokenizer, self.recipe.length, self.recipe.queries), validation
        pair = self._samples("attack", self.recipe.queries), validation
        if self.labels == "dataset":
            return pair
        answers = oracle.read_labels(self.model, noisy=self.attack.secured == "sap_dp")
        return tuple(oracle.relabelled(samples, answers, self.budget.length) for samples in pair)

    def start(self, seed: int) -> torch.nn.Module:
        """The attacker's model before training: the open part, and fresh random weights in place of the secret ones."""
        attacker = models.open_part(self.victim, self.secured.names)
        starts.apply(attacker, starts.draw(attacker, self.secured.names, self.budget.attack.start, seed))
        return attacker

    def answers(self) -> recorded.Recorded:
        """What leaves the secured part, for every sample that a seed trains on; each is asked once for all seeds."""
        asked = oracle.Oracle(self.victim, self.secured, self.tokenizer.pad_token_id, self.attack.noise)
        with models.precision(self.spec):
            return recorded.answered(asked, self._trained_on(), self.state.folder / "answers", self.attack.repeats)

    def _trained_on(self) -> dict[int, dict]:
        """Training samples by number, without those that no seed's batches reach."""
        steps = self.recipe.total_steps(len(self.samples))
        used = {number for seed in self.budget.attack.seeds for number in self.order(seed, steps)}
        return {number: self.samples[number] for number in sorted(used)}

    def entered(self, attacker: torch.nn.Module) -> recorded.Recorded | None:
        """What enters the secured part, for every sample that a seed trains on; None where token ids do."""
        folder, pad_id = self.state.folder / "entered", self.tokenizer.pad_token_id
        return part.entered(attacker, self.seen, self._trained_on(), folder, pad_id)

    def plan(self, attacker: torch.nn.Module, answers: recorded.Recorded | None) -> Plan:
        """What this attack trains, by its name; `answers` are the recorded ones, for SEM."""
        if self.attack.attack == "ft_all":
            return ft.ft_all(attacker, self.secured, self.seen, self.samples)
        with models.precision(self.spec):
            states = self.entered(attacker)
        trained = part.SecuredPart(attacker, self.seen, states)
        if self.attack.attack == "ft_closed":
            return ft.ft_closed(trained, self.secured, self.samples)
        return sem.sem(trained, self.secured, self.samples, answers, self.recipe.loss)

    def validate(self, attacker: torch.nn.Module) -> dict[str, float]:
        """Agreement, KL and cross-entropy on the validation prompts."""
        with models.precision(self.spec):
            scored = fidelity.fidelity(attacker, self.remembered, self.tokenizer, self.validation)
        if self.remembered.complete:  # until the end of training nobody asks for the victim
            self.__dict__.pop("victim", None)
        return {row["metric"]: row["value"] for row in scored.rows}

    def start_scores(self, seed: int) -> Scored:
        """Scores of the start, before any query; runs that share secured set, start and seed share them too."""
        shared = {
            "model": self.spec,
            "budget": self.budget.evaluation,
            "revision": self.revision,
            "names": self.secured.names,
        }
        work = State(f"{self.model}/starts/{described(self.secured)}-{self.budget.attack.start}-{seed}", shared)
        return Scored(**work.cached("scores", lambda: asdict(self.scores(self.start(seed)))))

    def end_scores(self, seed: int) -> Scored:
        """Scores of the trained replica."""
        return Scored(**self.state.cached(f"end-{seed}", lambda: asdict(self.scores(self.replica(seed)))))

    def scores(self, replica: torch.nn.Module) -> Scored:
        """Fidelity on held-out prompts and texts, and all benchmarks."""
        wanted = self.budget.evaluation
        with models.precision(self.spec):
            scored = fidelity.held_out(replica, self.remembered, self.tokenizer, self.evaluation, wanted)
            return scored + published_tasks.run_suite(replica, self.tokenizer, self.study, wanted)

    def train(self, seed: int) -> list[dict]:
        """Train from the start and keep the replica as the tensors that differ from the victim; returns the history.

        The finished replica waits in the state folder until `finish`, so a kill during evaluation loses no training.
        """
        kept = self.state.folder / f"seed-{seed}.safetensors"

        def compute() -> list[dict]:
            answers = self.answers() if self.attack.attack == "sem" else None
            attacker = self.start(seed)  # from here on nothing reads the victim but validation, which only measures
            plan = self.plan(attacker, answers)

            def loss(model, batch):
                with models.precision(self.spec):
                    return plan.loss(model, batch)

            folder = self.state.folder / f"trainer-{seed}"
            arguments = (
                plan.trainable,
                plan.samples,
                loss,
                self.validate,
                self.recipe,
                seed,
                self.tokenizer.pad_token_id,
            )
            rows = training.train(attacker, *arguments, folder)
            models.save_delta(attacker, models.open_part(self.victim, self.secured.names), kept)
            return rows

        return self.state.cached(f"history-{seed}", compute)

    def replica(self, seed: int) -> torch.nn.Module:
        """The trained replica, read back from its bfloat16 checkpoint: what is scored is what is kept."""
        replica = models.open_part(self.victim, self.secured.names)
        models.load_delta(replica, self.state.folder / f"seed-{seed}.safetensors")
        return replica

    def finish(self, scores: Scored, curve: pd.DataFrame, answers: pd.DataFrame) -> None:
        """Write scores, curve, answers and replicas, whole, then forget the state."""
        folder = RESULTS / self.model / "attacks" / self.run
        scores.write(folder)
        schema.write(curve, schema.CURVE, folder / "curve.csv")
        schema.write(answers, schema.ANSWERS, folder / "answers.csv")
        target = models.CHECKPOINTS / self.model / "attacks" / self.run
        target.mkdir(parents=True, exist_ok=True)
        for seed in self.budget.attack.seeds:
            shutil.copy(self.state.folder / f"seed-{seed}.safetensors", target)
        self.state.discard()

    def row(self, seed: int, steps: int) -> dict:
        """The columns that say what was run and at which cost, after `steps` optimizer steps."""
        asked = self.asked(seed, steps)
        return {
            "model": self.model,
            "revision": self.revision,
            "tier": self.study.tier,
            "dtype": self.spec.dtype,
            "deployment": self.attack.secured,
            "secured": described(self.secured),
            "start": self.budget.attack.start,
            "attack": self.attack.attack,
            "recipe": recipe_text(self.recipe),
            "view": self.view,
            "labels": self.labels,
            "seed": seed,
            "steps": steps,
            "queries": len(asked),
            "tokens": sum(len(sample["input_ids"]) for sample in asked),
            "flops": self.flops(steps),
        }

    @property
    def view(self) -> str:
        """What this attack trains on, of all that is seen."""
        if self.attack.attack != "sem":
            return self.seen.answers
        noise = f", {self.attack.noise} noise, {self.attack.repeats} askings a query" if self.seen.noisy else ""
        return self.seen.pair + noise

    def order(self, seed: int, steps: int) -> list[int]:
        """Sample numbers in the order of `steps` steps."""
        return training.order([len(s["input_ids"]) for s in self.samples], self.recipe.batch, steps, seed)

    def asked(self, seed: int, steps: int) -> list[dict]:
        """What was asked of the oracle after `steps` steps: the training samples seen so far, and validation."""
        used = [self.samples[number] for number in sorted(set(self.order(seed, steps)))]
        return used * self.attack.repeats + (self.validation if steps else [])

    def flops(self, steps: int) -> int:
        """Training FLOPs: 4 a token and parameter worked through (forward, backward to the states), 2 a trained one.

        Open layers below the secured part run forward once a sample (2), except under FT-all, which trains them.
        """
        lengths = sum(len(sample["input_ids"]) for sample in self.samples)
        tokens, sem_run = steps * self.recipe.batch * lengths // len(self.samples), self.attack.attack == "sem"
        if self.attack.attack == "ft_all":
            return tokens * 6 * self.secured.total
        stopped = sem_run and not self.seen.outputs_only
        worked = self.secured.parameters if stopped else self.secured.total - self.seen.below
        once = 2 * self.seen.below * min(tokens, lengths)
        return tokens * (4 * worked + 2 * self.secured.parameters) + once


def described(secured: SecuredSet) -> str:
    """The secured layers in one word: "layers 0-3", "all", ...; a set that is no row of layers as it was declared."""
    if secured.is_whole_model:
        return "all"
    if not secured.names:
        return "none"
    if not secured.layers or list(secured.layers) != list(range(secured.layers[0], secured.layers[-1] + 1)):
        return secured.declaration
    first, last = secured.layers[0], secured.layers[-1]
    return f"layers {first}" if first == last else f"layers {first}-{last}"


def recipe_text(recipe: params.Recipe) -> str:
    """A recipe in one line."""
    length = f" x {recipe.length} tokens" if recipe.length else ""
    loss = f", {recipe.loss}" if recipe.loss else ""
    optimizer = f"adamw {recipe.learning_rate:g}, decay {recipe.weight_decay:g}, {recipe.schedule}"
    return f"{optimizer}, batch {recipe.batch}{length}{loss}"
