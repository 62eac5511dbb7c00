"""Speed and memory of a customer's fine-tuning, as ratios of one run.

    make bench B=customization    some minutes on 2 CPU cores; needs `dvc repro victim@smollm2-135m`

cached_K: LoRA with K bottom layers secured, begun at their kept states, against LoRA on the open model, three epochs of
the same batches, recording included; beside what counting says (matrix products, without attention scores): 1 is all
that can be won. padded, grouped: LoRA by the engine, texts side by side (packed: true), against the plain Trainer,
padded to 512 tokens and with length grouping, real tokens a second; beside them the engine as the default study has it,
padded a little and with logits of answers alone. Runs alternate, so
that a slow moment of the machine meets each of them; seconds are those of the CPUs, so that other programs do not count
(OMP_WAIT_POLICY=passive keeps waiting threads out of them).
"""

import contextlib
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from plain import bar
from plain_training import Batch, Clock, Loss, collate, engine_run, own_loss, plain_run

from solid_utils.core.errors import StudyError
from solid_utils.customization.boundary import Boundary
from solid_utils.customization.declared import declared
from solid_utils.customization.methods.method import Method, requires_grad
from solid_utils.deployment.secured import SecuredSet, secured_set
from solid_utils.model import accelerator, models, sampling
from solid_utils.model.structure import layer_parameters
from solid_utils.settings import params
from solid_utils.settings.customization_params import CustomizationBudget
from solid_utils.training import lora, packed, training

MODEL, ROUNDS, EPOCHS = "smollm2-135m", 2, 3
SAMPLES, BATCH, LENGTH = 12, 4, 256  # of LoRA from kept states
PAPER_LENGTH, STEPS = 512, 4  # tokens of a sample (the paper, B.6), steps of the padded runs
DEPTHS = (1, 8, 15)
RATES = {"learning_rate": 1e-4, "weight_decay": 0.1, "schedule": "constant", "validate_every": 1000}
RATES |= {"samples": SAMPLES, "validation": 1, "test": 1, "batch": BATCH}
ADAPTERS = {"rank": 16, "alpha": 32}


class Bench:
    """What all parts share: the victim, the tokenizer, samples."""

    def __init__(self, study: params.Params):
        self.spec = study.model(MODEL)
        self.victim, self.tokenizer, _ = models.load_victim(MODEL, self.spec)
        self.pad_id = self.tokenizer.pad_token_id

    def method(self, name: str, steps: int, **options) -> Method:
        return declared(CustomizationBudget(method=name, steps=steps, **RATES | options), "bench")

    def customer(self, method: Method, secured: SecuredSet) -> tuple[torch.nn.Module, set[str]]:
        """A model of his own to train, and the names of what is trained."""
        torch.manual_seed(method.seed)
        model, names = method.adapted(models.clone(self.victim), secured)
        requires_grad(model, names)
        return model, names

    def precise(self, loss: Loss) -> Loss:
        def precise(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
            with models.precision(self.spec):
                return loss(model, batch)

        return precise


def timed(bench: Bench, run: Callable, loss: Loss) -> Clock:
    """One quiet run, its clock."""
    clock = Clock(bench.precise(loss), BATCH)
    with contextlib.redirect_stdout(io.StringIO()):
        clock.timed(run)
    accelerator.release_memory()
    return clock


def epochs(bench: Bench, depth: int, samples: list[dict]) -> tuple[float, float]:
    """CPU seconds of three epochs of LoRA above `depth` secured layers, and of them those of recording; 0: all open."""
    secured = secured_set(bench.victim, f"bottom {depth}" if depth else "none")
    method = bench.method("lora", EPOCHS * SAMPLES // BATCH, **ADAPTERS)
    model, names = bench.customer(method, secured)
    loss, recording = training.answer_loss, 0.0
    with tempfile.TemporaryDirectory() as folder:
        if depth:
            begun, plain = time.process_time(), model.get_base_model()
            with models.precision(bench.spec), contextlib.redirect_stdout(io.StringIO()):
                states = Boundary(plain, depth - 1, samples, Path(folder), 0.5, bench.pad_id)
            loss, recording = states.loss(loss), time.process_time() - begun
        clock = timed(bench, engine_run(model, names, samples, method, bench.pad_id), loss)
    return recording + method.steps / clock.cpu_rates[0], recording


def counted(bench: Bench, depth: int, samples: list[dict]) -> float:
    """Work of an epoch in products a parameter: 4 of what is passed forward and back, 6 of what is trained.

    What lies below the kept states is passed forward once in all epochs.
    """
    sizes = {name: one.numel() for name, one in bench.victim.named_parameters()}
    inside = [sum(sizes[name] for name in names) for names in layer_parameters(bench.victim)]
    secured = secured_set(bench.victim, f"bottom {depth}" if depth else "none")
    adapters = lora.size(bench.victim, secured, ADAPTERS["rank"])
    tokens = sum(len(sample["input_ids"]) for sample in samples)
    answers = tokens - sum(sample["answer_start"] for sample in samples)
    head = bench.victim.get_output_embeddings().weight.numel()
    above = tokens * (4 * sum(inside[depth:]) + 6 * adapters) + 4 * answers * head
    return above + 2 * tokens * sum(inside[:depth]) / EPOCHS


def cached(bench: Bench) -> None:
    """LoRA from kept states against LoRA on the open model."""
    samples = sampling.samples("math_train", bench.tokenizer, LENGTH, SAMPLES)
    seconds: dict[int, list[tuple[float, float]]] = {depth: [] for depth in (0, *DEPTHS)}
    for _ in range(ROUNDS):
        for depth, seen in seconds.items():
            seen.append(epochs(bench, depth, samples))
    whole = median(total for total, _ in seconds[0])
    print(f"LoRA, {SAMPLES} problems, batch {BATCH}, {EPOCHS} epochs: {whole:.1f} CPU s on the open model")
    for depth in DEPTHS:
        total, recording = (median(column) for column in zip(*seconds[depth], strict=True))
        ideal = counted(bench, 0, samples) / counted(bench, depth, samples)
        print(f"  {depth} secured: {total:.1f} s, of it recording {recording:.1f} s")
        print(f"    {whole / total:.2f} times as fast, by counting {ideal:.2f}")
        bar(f"cached_{depth}", whole / total / ideal, 0.95)


def padded(bench: Bench) -> None:
    """LoRA by the engine, without padding and with logits of answers alone, against the plain Trainer."""
    samples = sampling.samples("attack", bench.tokenizer, PAPER_LENGTH, 8 * BATCH)
    secured, method = secured_set(bench.victim, "bottom 1"), bench.method("lora", STEPS, **ADAPTERS)
    model, names = bench.customer(method, secured)
    run = engine_run(model, names, samples, method, bench.pad_id)
    runs = {"engine": (run, training.answer_loss), "packed": (run, packed.packed_loss)}
    for name, length in (("padded", PAPER_LENGTH), ("grouped", 0)):
        runs[name] = plain_run(model, names, samples, method, collate(bench.pad_id, length)), own_loss
    seen: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, (run, loss) in runs.items():
            seen[name].append(timed(bench, run, loss).cpu_rates[1])
    rates = {name: median(found) for name, found in seen.items()}
    print("LoRA, real tokens a CPU second: " + ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items()))
    bar("padded", rates["packed"] / rates["padded"], 1.5)
    bar("grouped", rates["packed"] / rates["grouped"], 1.1)


def memory(bench: Bench) -> None:
    """Peaks of the whole process, untouched victim included; no bar."""
    samples = sampling.samples("math_train", bench.tokenizer, LENGTH, SAMPLES)
    secured = secured_set(bench.victim, "bottom 1")
    for name, options in (("lora", ADAPTERS), ("qlora", ADAPTERS), ("full", {})):
        method = bench.method(name, 3, **options)
        try:
            method.check_installed()
        except StudyError as error:
            print(f"  {name}: {error}")
            continue
        model, names = bench.customer(method, secured)
        clock = timed(bench, engine_run(model, names, samples, method, bench.pad_id), training.answer_loss)
        print(f"  {name}: {1 / clock.cpu_rates[0]:.1f} CPU s a step, peak {clock.peak:.2f} GB")
        del model


def main() -> None:
    study = params.load()
    torch.set_num_threads(study.threads)
    bench = Bench(study)
    cached(bench)
    padded(bench)
    print("memory:")
    memory(bench)


if __name__ == "__main__":
    main()
