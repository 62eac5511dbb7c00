"""One attack run: load, train, score. What is particular to it is the attack class's; notebook 03 loops over seeds."""

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path

import pandas as pd
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from solid_utils.attacks import accounting, curriculum, declared, part
from solid_utils.core import files, paths, schema
from solid_utils.core.errors import StudyError
from solid_utils.core.scored import Scored
from solid_utils.deployment import oracle, starts, view
from solid_utils.deployment.deployment_set import deployment_set
from solid_utils.deployment.described import described, facts
from solid_utils.evaluation import fidelity, published_tasks
from solid_utils.model import accelerator, guard, hub, models, sampling
from solid_utils.model.state import State
from solid_utils.settings import params
from solid_utils.training import lora, training
from solid_utils.training.recorded import Recorded


class AttackRun:
    """An attack on one deployment of one model, as `attacks.RUN` in params.yaml describes it."""

    room = "attacks"  # whose code makes what its state keeps

    def __init__(self, model: str, run: str, study: params.Params | None = None):
        self.study = study or declared.load()
        torch.set_num_threads(self.study.threads)
        self.model = model
        self.run = run
        self.spec = self.study.model(model)
        self.budget = self.study.budgets(model)
        self.attack = declared.attack(self.study, run)
        self.recipe = declared.recipe(self.study, model, run)
        self.parallel = self.spec.parallel.get(self.attack.attack, params.Parallel())
        self.shares = not (self.attack.opens or self.parallel.shard)  # open tensors: see models.open_part
        self.victim, self.tokenizer, self.revision = self.loaded()
        self.secured = deployment_set(self.victim, model, self.attack.secured)
        self.seen = view.view(self.victim, self.secured)
        self.start_name = declared.start(self.study, model, run)
        self.labels = self._labels()
        self.samples, self.validation = self._queried()
        # What trains the open part as well begins at token ids, not at recorded states.
        first = 0 if self.attack.opens else self.seen.first
        guard.check(self.victim, self.samples, self.tokenizer.pad_token_id, first)
        self.evaluation = sampling.held_out(self.tokenizer, self.budget.length, self.budget.evaluation)
        self.before = self._before()
        self.replaced = self.attack.replaced(self.victim, self.secured)
        adapted = self.recipe.method == "lora"
        self.adapters = lora.size(self.victim, self.secured, self.recipe.rank) if adapted else 0
        if adapted:
            print(lora.reach(self.victim, self.secured))
        config = self.victim.config.get_text_config()
        self.width = config.hidden_size
        self.vocabulary = config.vocab_size
        self.remembered = fidelity.Remembered(lambda: self.victim)
        settings = {"attack": self.attack, "recipe": self.recipe, "budget": self.budget, "secured": self.secured}
        self.state = State(f"{model}/attacks/{run}", self.scored_with | settings | {"before": self.before}, self.room)

    @property
    def scored_with(self) -> dict:
        """All settings that the scores of a start depend on, but its secured set, name and seed."""
        return {
            "model": self.spec,
            "revision": self.revision,
            "base": self.study.model(self.spec.base) if self.spec.base else None,
            "length": self.budget.length,
            "evaluation": self.budget.evaluation,
            "published": self.study.published,
            "copies": hub.copies_read(self.study.published),
            "allow_code": self.study.allow_code,
        }

    @property
    def account(self) -> accounting.Account:
        """Queries and FLOPs of this run."""
        what = self.attack, self.recipe, self.replaced, self.seen
        return accounting.Account(
            *what, self.samples, self.validation, self.width, self.adapters, self.before, self.labels
        )

    def _labels(self) -> str:
        """Whose answers this attack trains on. Raises StudyError where the data set's would not do."""
        if not self.attack.on_answers:
            return "none"
        labels = self.budget.attack.labels
        fix = "set labels: victim in params.yaml (tiers)"
        if labels == "dataset" and self.secured.noise:
            raise StudyError(f"attacks.{self.run}: labels: dataset makes sap_dp equal to sap; {fix}")
        if labels == "dataset" and self.attack.on_logits:
            raise StudyError(f"attacks.{self.run}: objective: logits: labels: dataset shows text only; {fix}")
        return labels

    def _before(self) -> dict[int, dict]:
        """By seed, the end of the run that this one goes on from; empty where it begins from nothing."""
        if self.attack.after is None:
            return {}
        tier = self.study.tier
        return {seed: curriculum.ended(self.model, self.attack.after, seed, tier) for seed in self.budget.attack.seeds}

    @cached_property
    def victim(self) -> PreTrainedModel:
        """The vendor's model: loaded again where it is needed after training had its memory."""
        return self.loaded()[0]

    def loaded(self) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, str]:
        """The victim, its tokenizer and its revision."""
        return models.load_victim(self.model, self.spec)

    def forget_victim(self) -> None:
        """Free the victim's memory; it is loaded again when somebody asks for it."""
        self.__dict__.pop("victim", None)

    def _samples(self, name: str, count: int) -> list[dict]:
        return sampling.samples(name, self.tokenizer, self.budget.length, count)

    def _queried(self) -> tuple[list[dict], list[dict]]:
        """Training and validation samples: what this attacker asks of the oracle."""
        validation = self._samples("validation", self.budget.attack.validation)
        if (own := self.attack.own_texts(self)) is not None:
            return own, validation
        if self.labels == "none":
            drawn = self.attack.drawn_by(self.budget.attack.seeds)
            recipe = self.recipe
            return sampling.texts("attack", self.tokenizer, recipe.length, recipe.queries, drawn), validation
        pair = self._samples("attack", self.recipe.queries), validation
        if self.labels == "dataset":
            return pair
        answers = oracle.read_labels(self.model, noisy=self.secured.noise > 0)
        return tuple(oracle.relabelled(samples, answers, self.budget.length) for samples in pair)

    def start(self, seed: int) -> torch.nn.Module:
        """The attacker's model before any query: the open part, and fresh weights in place of the secret ones."""
        attacker = models.open_part(self.victim, self.secured.names, self.shares)
        starts.apply(attacker, starts.draw(attacker, self.secured.names, self.start_name, seed, base=self._base()))
        self.attack.shape(attacker, self)
        return attacker

    def begun(self, seed: int) -> torch.nn.Module:
        """The attacker's model before training: the start, or the replica of the run that this one goes on from."""
        if self.attack.after is None:
            return self.start(seed)
        attacker = models.open_part(self.victim, self.secured.names, self.shares)
        models.load_delta(attacker, curriculum.checkpoint(self.model, self.attack.after, seed))
        return attacker

    def _base(self) -> Callable[[str], torch.Tensor | None] | None:
        """Tensors of the public base by name, where the start needs them."""
        if self.start_name != "public_base":
            return None
        base = models.load_base(self.model, self.study.model(self.spec.base))
        return dict(base.named_parameters()).get

    def answers(self) -> Recorded:
        """What the oracle says of every sample that a seed trains on, each asked once for all seeds."""
        with models.precision(self.spec), accelerator.processes().main_process_first():
            return self.asked(self._trained_on(), self.state.folder / "answers")  # the first asks

    def asked(self, samples: dict[int, dict], folder: Path) -> Recorded | None:
        """What the attack asks of the oracle of these samples; None where it asks for nothing."""
        noise = getattr(self.attack, "noise", "fixed")
        deployed = oracle.Oracle(self.victim, self.secured, self.tokenizer.pad_token_id, noise)
        return self.attack.record(deployed, samples, folder)

    def _trained_on(self) -> dict[int, dict]:
        """Training samples by number, without those that no seed's batches reach."""
        account = self.account
        seeds = self.budget.attack.seeds
        used = {number for seed in seeds for number in account.order(seed, account.own_steps)}
        return {number: self.samples[number] for number in sorted(used)}

    def entered(self, attacker: torch.nn.Module) -> Recorded | None:
        """What enters the secured part, for every sample that a seed trains on; None where token ids do."""
        folder = self.state.folder / "entered"
        pad_id = self.tokenizer.pad_token_id
        return part.entered(attacker, self.seen, self._trained_on(), folder, pad_id)

    def part(self, attacker: torch.nn.Module) -> part.SecuredPart:
        """The attacker's model from its first secret layer on, begun at recorded states."""
        with models.precision(self.spec), accelerator.processes().main_process_first():
            states = self.entered(attacker)
        return part.SecuredPart(attacker, self.seen, states)

    def validate(self, attacker: torch.nn.Module) -> dict[str, float]:
        """Agreement, KL and cross-entropy on the validation prompts."""
        with models.precision(self.spec):
            scored = fidelity.fidelity(attacker, self.remembered, self.tokenizer, self.validation)
        if self.remembered.complete:  # until the end of training nobody asks for the victim
            self.forget_victim()
        return {row["metric"]: row["value"] for row in scored.rows}

    def start_scores(self, seed: int) -> Scored:
        """Scores of the start, before any query; runs that share secured set, start and seed share them too."""
        name = f"{described(self.secured)}-{self.start_name}{self.attack.architecture}-{seed}"
        settings = self.scored_with | {"names": self.replaced.names}  # a smaller replacement is another start
        work = State(f"{self.model}/starts/{name}", settings, self.room, shared=True)
        scored = Scored(**work.cached("scores", lambda: asdict(self.scores(self.start(seed)))))
        return scored + self.attack.measured(self, lambda: self.start(seed))

    def end_scores(self, seed: int) -> Scored:
        """Scores of the trained replica."""
        scored = Scored(**self.state.cached(f"end-{seed}", lambda: asdict(self.scores(self.replica(seed)))))
        return scored + self.attack.measured(self, lambda: self.replica(seed))

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
        return self.state.cached(f"history-{seed}", lambda: self.attack.train(self, seed))

    def kept(self, seed: int) -> Path:
        """Where the replica of a seed waits until `finish`."""
        return self.state.folder / f"seed-{seed}.safetensors"

    def optimised(self, seed: int) -> list[dict]:
        """Train the attack's plan, step by step; the replica is kept."""
        answers = self.answers()
        attacker = self.begun(seed)  # from here on nothing reads the victim but validation, which only measures
        plan = self.attack.plan(attacker, self, answers)
        if self.recipe.method == "lora":
            torch.manual_seed(seed)  # LoRA's first matrices come from torch's own stream
            attacker, adapters = lora.wrapped(attacker, self.secured, self.recipe)
            # The replacement is fresh, so adapters would leave it random: it is trained wholly.
            plan = replace(plan, trainable=adapters | {lora.PREFIX + name for name in self.secured.names})

        def loss(model, batch):
            with models.precision(self.spec):
                return plan.loss(model, batch)

        arguments = plan.trainable, plan.samples, loss, self.validate, self.recipe, seed, self.tokenizer.pad_token_id
        folder, worked = self.state.folder / f"trainer-{seed}", plan.worked / self.secured.total
        rows = training.train(attacker, *arguments, folder, self.parallel.shard, worked)
        self.victim.requires_grad_()  # what is shared was frozen with the attacker's
        if self.recipe.method == "lora":
            attacker = attacker.merge_and_unload()
        self.attack.keep(attacker, self, self.kept(seed))
        accelerator.processes().wait_for_everyone()  # the first one writes the replica; a history says that it is there
        return [row | {"step": row["step"] + self.account.done(seed)} for row in rows]

    @property
    def trained(self) -> bool:
        """Is the training of all seeds done?"""
        return all((self.state.folder / f"history-{seed}.json").exists() for seed in self.budget.attack.seeds)

    def replica(self, seed: int) -> torch.nn.Module:
        """The trained replica, read back from its bfloat16 checkpoint: what is scored is what is kept."""
        replica = models.open_part(self.victim, self.secured.names, self.shares)
        self.attack.lay(replica, self, self.kept(seed))
        return replica

    def finish(self, scores: Scored, curve: pd.DataFrame, answers: pd.DataFrame) -> None:
        """Write scores, curve, answers and replicas, whole, then forget the state."""
        folder = paths.RUNS / self.model / "attacks" / self.run
        scores.write(folder)
        schema.write(curve, schema.CURVE, folder / "curve.csv")
        schema.write(answers, schema.ANSWERS, folder / "answers.csv")
        target = paths.CHECKPOINTS / self.model / "attacks" / self.run
        for seed in self.budget.attack.seeds:
            files.copy(self.kept(seed), target / self.kept(seed).name)
        self.state.discard()  # last: a kill before it loses nothing

    def words(self, seed: int) -> str:
        """The column `recipe`: the attack's own words, and those of the runs before."""
        own = self.attack.words(self.recipe, declared.usual_recipe(self.study, self.model, self.run))
        if (before := self.before.get(seed)) is None:
            return own
        return f"{own}, after {before['attack']}, {before['steps']} steps of {before['recipe']}"

    def row(self, seed: int, steps: int) -> dict:
        """The columns that say what was run and at which cost, after `steps` steps."""
        return {
            "model": self.model,
            "revision": self.revision,
            "tier": self.study.tier,
            "dtype": self.spec.dtype,
            "deployment": self.attack.secured,
            **facts(self.secured),
            "start": self.start_name,
            "attack": self.attack.attack,
            "recipe": self.words(seed),
            "batch": self.attack.batch(self.recipe),
            "view": self.attack.sees(self.seen),
            "numbers": self.attack.numbers(self.seen, self.width, self.vocabulary),
            "labels": self.labels,
            "seed": seed,
        } | self.account.cost(seed, steps)
