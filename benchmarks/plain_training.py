"""The plain Trainer that the attack engine is measured against, and the clock that both carry."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import PrinterCallback, Trainer, TrainingArguments

from solid_utils.model.forward import pad
from solid_utils.settings.attack_params import Recipe
from solid_utils.training import training

Batch = dict[str, torch.Tensor]
Loss = Callable[[torch.nn.Module, Batch], torch.Tensor]


@dataclass
class Clock:
    """A loss that notes when each step of a run began and how many real tokens it held, and the run's peak memory."""

    loss: Loss
    batch: int  # rows of an optimizer step, whether they come at once or in pieces
    rows: int = 0
    begun: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    worked: list[float] = field(default_factory=list)  # this process's CPU seconds when each step began
    peak: float = 0.0  # GB of this process

    def __call__(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        if self.rows % self.batch == 0:
            self.begun.append(time.perf_counter())
            self.worked.append(time.process_time())
            self.tokens.append(0)
        self.rows += len(batch["input_ids"])
        self.tokens[-1] += int(batch["attention_mask"].sum())
        return self.loss(model, batch)

    def timed(self, run: Callable[["Clock", Path], None]) -> None:
        """One run in a folder of its own."""
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        with tempfile.TemporaryDirectory() as folder:
            run(self, Path(folder))
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        self.peak = int(status["VmHWM"].split()[0]) * 1024 / 1e9

    @property
    def rates(self) -> tuple[float, float]:
        """Optimizer steps and real tokens a second, without the first step (it allocates) and the last (it saves)."""
        return self._rates(self.begun)

    @property
    def cpu_rates(self) -> tuple[float, float]:
        """The same by this process's CPU seconds: what other programs take of the machine does not count."""
        return self._rates(self.worked)

    def _rates(self, at: list[float]) -> tuple[float, float]:
        seconds, steps = at[-1] - at[1], len(at) - 2
        return steps / seconds, sum(self.tokens[1:-1]) / seconds


class PlainTrainer(Trainer):
    """Transformers' Trainer; the loss carries the clock and the dtype."""

    def __init__(self, *arguments, loss: Loss, **options):
        super().__init__(*arguments, **options)
        self.loss = loss

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        return self.loss(model, inputs)


def own_loss(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """The model's own: logits at every position."""
    return model(**batch, use_cache=False).loss


def collate(pad_id: int, length: int = 0) -> Callable[[list[dict]], Batch]:
    """Right-padded batches with labels on answer tokens; to the longest of the batch, at least to `length` tokens."""

    def collated(samples: list[dict]) -> Batch:
        input_ids, mask = pad([[pad_id] * length] + [sample["input_ids"] for sample in samples], pad_id)
        input_ids, mask = input_ids[1:], mask[1:]
        starts = torch.tensor([sample["answer_start"] for sample in samples])[:, None]
        labels = input_ids.masked_fill((torch.arange(input_ids.shape[1]) < starts) | (mask == 0), -100)
        return {"input_ids": input_ids, "attention_mask": mask, "labels": labels}

    return collated


def plain_run(model, trainable: frozenset[str], samples: list[dict], recipe: Recipe, collator: Callable) -> Callable:
    """A run of the plain Trainer over the engine's own batches, with its optimizer and rate."""

    def run(loss: Loss, folder: Path) -> None:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in trainable)
        indices = training.order([len(sample["input_ids"]) for sample in samples], recipe.batch, recipe.steps, 42)
        arguments = TrainingArguments(
            output_dir=str(folder),
            max_steps=recipe.steps,
            per_device_train_batch_size=recipe.batch,
            learning_rate=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            lr_scheduler_type=recipe.schedule,
            optim="adamw_torch_fused",
            train_sampling_strategy="sequential",
            save_strategy="no",
            use_cpu=not torch.cuda.is_available(),
            remove_unused_columns=False,
            dataloader_pin_memory=False,
            disable_tqdm=True,
            report_to="none",
        )
        dataset = [samples[index] for index in indices]
        trainer = PlainTrainer(model, arguments, data_collator=collator, train_dataset=dataset, loss=loss)
        trainer.remove_callback(PrinterCallback)
        trainer.train()

    return run


def engine_run(model, trainable: frozenset[str], samples: list[dict], recipe: Recipe, pad_id: int) -> Callable:
    """A run of the engine, without validation."""

    def run(loss: Loss, folder: Path) -> None:
        training.train(model, trainable, samples, loss, lambda _: {}, recipe, 42, pad_id, folder)

    return run
