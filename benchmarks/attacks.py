"""Speed and memory of the attack engine, as ratios of one run against the plain Trainer (plain_training.py).

    make bench B=attacks          about 5 minutes on 2 CPU cores; needs `dvc repro victim@smollm2-135m`

The study's victim in its own dtype, AdamW, the same batches for all. Runs alternate, so that a slow moment of the
machine meets each of them; a ratio is that of the medians. Beside each its ceiling, counted: matrix products of both
sides, without attention scores and optimizer. Peaks are of the whole process: victim, replica, gradients, moments.
"""

import contextlib
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import SimpleNamespace

import torch
from plain import bar
from plain_training import Clock, Loss, collate, engine_run, own_loss, plain_run

from solid_utils.attacks import distances, part, recorded
from solid_utils.attacks.declared import KINDS
from solid_utils.attacks.plan import Plan
from solid_utils.deployment import oracle, starts, view
from solid_utils.deployment.secured import SecuredSet, secured_set
from solid_utils.model import accelerator, models, sampling
from solid_utils.model.structure import layer_parameters
from solid_utils.settings import params
from solid_utils.settings.attack_params import Recipe
from solid_utils.training import training

MODEL, SAMPLES, ROUNDS = "smollm2-135m", 256, 2
PAPER_LENGTH = 512  # tokens of a sample (the paper, B.2)
LENGTH, ANSWER = 256, 48  # tokens of a sample and of its answer in the small tier, whose labels are the victim's
TEXT = 128  # tokens of a text in the small tier
RATES = {"learning_rate": 1e-4, "weight_decay": 0.1, "schedule": "constant", "validate_every": 1000}


class Bench:
    """What all parts share: the victim, the tokenizer, and counted work."""

    def __init__(self, study: params.Params):
        self.spec = study.model(MODEL)
        self.victim, self.tokenizer, _ = models.load_victim(MODEL, self.spec)
        self.pad_id = self.tokenizer.pad_token_id
        sizes = {name: parameter.numel() for name, parameter in self.victim.named_parameters()}
        self.layers = sum(sizes[name] for names in layer_parameters(self.victim) for name in names)
        self.head = self.victim.get_output_embeddings().weight.numel()

    def attacker(self, secured: SecuredSet) -> torch.nn.Module:
        model = models.open_part(self.victim, secured.names)
        starts.apply(model, starts.draw(model, secured.names, "xavier", 42))
        return model

    def rates(self, runs: dict[str, tuple[Callable, Loss]], batch: int) -> dict[str, tuple[float, float]]:
        """Steps and real tokens a second of each run, medians over rounds in which they alternate; prints all."""
        seen = {name: [] for name in runs}
        for _ in range(ROUNDS):
            for name, (run, loss) in runs.items():
                seen[name].append(clock := Clock(self.precise(loss), batch))
                with contextlib.redirect_stdout(io.StringIO()):
                    clock.timed(run)
                accelerator.release_memory()
        found = {
            name: tuple(map(median, zip(*(c.rates for c in clocks), strict=True))) for name, clocks in seen.items()
        }
        for name, (steps, tokens) in found.items():
            peak = max(clock.peak for clock in seen[name])
            print(f"  {name}: {steps:.2f} steps/s, {tokens:.0f} real tokens/s, peak {peak:.1f} GB")
        return found

    def precise(self, loss: Loss) -> Loss:
        def precise(model, batch):
            with models.precision(self.spec):
                return loss(model, batch)

        return precise


def planned(name: str, model, secured, samples, recipe: Recipe, trained=None, answers=None) -> Plan:
    """The plan of an attack, outside a run."""
    run = SimpleNamespace(secured=secured, replaced=secured, samples=samples, recipe=recipe, part=lambda _: trained)
    return KINDS[name](attack=name, secured=secured.declaration).plan(model, run, answers)


def counted(samples: list[dict], recipe: Recipe) -> tuple[int, int, int]:
    """Samples, tokens with the engine's padding, and answer tokens of a run."""
    indices = training.order([len(sample["input_ids"]) for sample in samples], recipe.batch, recipe.steps, 42)
    rows, padded = [samples[index] for index in indices], 0
    for first in range(0, len(rows), recipe.batch):
        batch = training.Collator(0)(rows[first : first + recipe.batch])
        padded += sum(piece["input_ids"].numel() for piece, _ in training.pieces(batch, recipe.device_tokens))
    return len(rows), padded, sum(len(sample["input_ids"]) - sample["answer_start"] for sample in rows)


def ft_all(bench: Bench) -> None:
    """FT-all against the paper's set-up, and against a Trainer that pads as little as the engine does."""
    samples = sampling.samples("attack", bench.tokenizer, PAPER_LENGTH, SAMPLES)
    recipe = Recipe(steps=6, batch=8, device_tokens=1024, **RATES)
    secured = secured_set(bench.victim, "layers 0")
    model = bench.attacker(secured)
    plan = planned("ft_all", model, secured, samples, recipe)
    runs = {"engine": (engine_run(model, plan.trainable, samples, recipe, bench.pad_id), plan.loss)}
    for name, length in (("padded to 512", PAPER_LENGTH), ("padded to the longest", 0)):
        runs[name] = plain_run(model, plan.trainable, samples, recipe, collate(bench.pad_id, length)), own_loss
    print(f"FT-all, {PAPER_LENGTH} tokens, batch {recipe.batch}:")
    rates = bench.rates(runs, recipe.batch)
    rows, padded, answers = counted(samples, recipe)
    ours, whole = bench.layers * padded + bench.head * answers, bench.layers + bench.head
    ceilings = {"padded to 512": whole * PAPER_LENGTH * rows / ours, "padded to the longest": whole * padded / ours}
    for name, key, target in (("paper", "padded to 512", 2.7), ("grouped", "padded to the longest", 1.1)):
        print(f"  counted ceiling against a Trainer {key}: {ceilings[key]:.2f}")
        bar(f"attack_ft_all_{name}", rates["engine"][1] / rates[key][1], target)


def sem_layers(bench: Bench, last: int, steps: int, target: float) -> None:
    """SEM on layers 0 to `last` against the whole victim in every step, and against one stopped at the boundary."""
    samples = sampling.texts("attack", bench.tokenizer, TEXT, SAMPLES)
    recipe = Recipe(steps=steps, batch=16, length=TEXT, loss="relative_mse", **RATES)
    secured = secured_set(bench.victim, f"layers 0-{last}")
    model, asked = bench.attacker(secured), oracle.Oracle(bench.victim, secured, bench.pad_id)
    trained = part.SecuredPart(model, asked.view, None)

    def against(states: Callable) -> Loss:
        def loss(_, batch):
            with torch.no_grad():
                target = states(batch)[batch["attention_mask"].bool()]
            return distances.relative_mse(trained.leaving(batch).float(), target.float()).mean()

        return loss

    def whole(batch):
        inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        return bench.victim(**inputs, use_cache=False, output_hidden_states=True).hidden_states[last + 1]

    def stopped(batch):
        return asked.boundary(batch["input_ids"], batch["attention_mask"])

    print(f"SEM on {secured.declaration}, {TEXT} tokens, batch {recipe.batch}:")
    with tempfile.TemporaryDirectory() as folder:
        with models.precision(bench.spec):
            answers = recorded.answered(asked, dict(enumerate(samples)), Path(folder))
        plan = planned("sem", model, secured, samples, recipe, trained, answers)
        run = plain_run(model, plan.trainable, samples, recipe, training.Collator(bench.pad_id))
        rates = bench.rates(
            {
                "engine": (engine_run(model, plan.trainable, samples, recipe, bench.pad_id), plan.loss),
                "whole victim in each step": (run, against(whole)),
                "victim stopped at the boundary": (run, against(stopped)),
            },
            recipe.batch,
        )
    mine, theirs = 3 * secured.parameters, {"whole": bench.layers + bench.head, "stopped": secured.parameters}
    ceilings = {name: (mine + work) / mine for name, work in theirs.items()}
    print(f"  counted ceilings: {ceilings['whole']:.1f} (whole victim), {ceilings['stopped']:.2f} (stopped)")
    ours = rates["engine"][0]
    print(f"  against a victim stopped at the boundary: {ours / rates['victim stopped at the boundary'][0]:.2f} x")
    bar(f"attack_sem_0_{last}", ours / rates["whole victim in each step"][0], target)


def ft_closed(bench: Bench) -> None:
    """FT-closed on the last layer against a plain run over the same batches: the whole model, all logits."""
    samples = [
        sample | {"input_ids": sample["input_ids"][: sample["answer_start"] + ANSWER]}
        for sample in sampling.samples("attack", bench.tokenizer, LENGTH, SAMPLES)
    ]
    recipe = Recipe(steps=5, batch=8, **RATES)
    secured = secured_set(bench.victim, "top 1")
    model = bench.attacker(secured)
    seen = view.view(model, secured)
    print(f"FT-closed on {secured.declaration}, {LENGTH} tokens, answers of {ANSWER}, batch {recipe.batch}:")
    with tempfile.TemporaryDirectory() as folder:
        with models.precision(bench.spec):
            states = part.entered(model, seen, dict(enumerate(samples)), Path(folder), bench.pad_id)
        trained = part.SecuredPart(model, seen, states)
        plan = planned("ft_closed", model, secured, samples, recipe, trained)
        plain = plain_run(model, plan.trainable, samples, recipe, collate(bench.pad_id))
        runs = {
            "engine": (engine_run(model, plan.trainable, samples, recipe, bench.pad_id), plan.loss),
            "plain": (plain, own_loss),
        }
        rates = bench.rates(runs, recipe.batch)
    _, padded, answers = counted(samples, recipe)
    ours = 3 * secured.parameters * padded + 2 * bench.head * answers
    theirs = (bench.layers + 2 * bench.head + 2 * secured.parameters) * padded
    print(f"  counted ceiling: {theirs / ours:.1f}")
    bar("attack_ft_closed_last", rates["engine"][0] / rates["plain"][0], 4)


def main() -> None:
    study = params.load()
    torch.set_num_threads(study.threads)
    bench = Bench(study)
    sem_layers(bench, 0, 12, 10)
    sem_layers(bench, 3, 8, 3.5)
    ft_closed(bench)
    ft_all(bench)


if __name__ == "__main__":
    main()
