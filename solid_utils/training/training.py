"""The training engine of attacks and customization: Hugging Face Trainer, length-grouped batches, exact resume."""

import math
import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from solid_utils.core.errors import StudyError
from solid_utils.model import accelerator
from solid_utils.model.forward import answer_logits, answer_positions, length_batches, pad
from solid_utils.settings.attack_params import Recipe
from solid_utils.training import memory, parallel
from solid_utils.training.checkpoints import Checkpoints, last_checkpoint
from solid_utils.training.muon import MuonAdamW

Loss = Callable[[PreTrainedModel, dict[str, torch.Tensor]], torch.Tensor]
LOGIT_ROWS = 256
WINDOW = 8  # batches are filled from windows of this many, sorted by length, so that padding stays small


def order(lengths: list[int], batch: int, steps: int, seed: int) -> list[int]:
    """Sample indices for `steps` batches: shuffled each epoch by `seed`, samples of similar length side by side.

    The whole order is fixed before the run, so a resumed run sees the same batches. Raises StudyError without samples.
    """
    if not lengths:
        raise StudyError("training: no samples; ask for at least one query or sample in configs/tiers.yaml")
    generator, indices = random.Random(seed), []
    while len(indices) < steps * batch:
        epoch = generator.sample(range(len(lengths)), len(lengths))
        for start in range(0, len(epoch), WINDOW * batch):
            window = sorted(epoch[start : start + WINDOW * batch], key=lambda index: lengths[index])
            rows = [window[first : first + batch] for first in range(0, len(window), batch)]
            rest = rows.pop() if len(rows[-1]) < batch else []  # last, or it would shift the batches after it
            generator.shuffle(rows)
            indices += [index for row in [*rows, rest] for index in row]
    return indices[: steps * batch]


class Collator:
    """Samples -> a padded batch: input_ids, attention_mask and keep (positions that predict an answer token).

    `number`, (batch,), tells which sample each row is: its place in the training set.
    """

    def __init__(self, pad_id: int):
        self.pad_id = pad_id

    def __call__(self, samples: list[dict]) -> dict[str, torch.Tensor]:
        input_ids, attention_mask = pad([sample["input_ids"] for sample in samples], self.pad_id)
        keep = answer_positions(samples, attention_mask)
        number = torch.tensor([sample.get("number", row) for row, sample in enumerate(samples)])
        return {"input_ids": input_ids, "attention_mask": attention_mask, "keep": keep, "number": number}


def answer_loss(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Mean cross-entropy over the batch's answer tokens; logits are computed at these positions only."""
    targets = torch.roll(batch["input_ids"], -1, dims=1)[batch["keep"]]
    return mean_loss(answer_logits(model, batch["input_ids"], batch["attention_mask"], batch["keep"]), targets)


def mean_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in nats of logits (tokens, vocab) on targets (tokens,)."""
    # In chunks, whose float32 copies the allocator keeps for reuse; larger ones are new memory in every step.
    chunks = zip(logits.split(LOGIT_ROWS), targets.split(LOGIT_ROWS), strict=True)
    losses = [torch.nn.functional.cross_entropy(some.float(), labels, reduction="sum") for some, labels in chunks]
    return torch.stack(losses).sum() / len(targets)


def counted(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Tokens that the loss counts, (batch,): a sample's answer tokens, or all tokens of texts without an answer."""
    answers = batch["keep"].sum(1)
    return answers if answers.any() else batch["attention_mask"].sum(1)


def pieces(batch: dict[str, torch.Tensor], tokens: int | None) -> Iterator[tuple[dict[str, torch.Tensor], float]]:
    """A batch in pieces of at most `tokens` padded tokens, and each piece's share of the tokens that the loss counts.

    The sum of share x loss is the loss of the whole batch, so nothing depends on how much fits into memory at once.
    """
    lengths, tokens_of = batch["attention_mask"].sum(1), counted(batch)
    groups = length_batches(lengths.tolist(), tokens) if tokens else [list(range(len(lengths)))]
    for group in groups:
        longest = int(lengths[group].max())
        part = {name: rows[group, :longest] if rows.ndim > 1 else rows[group] for name, rows in batch.items()}
        yield part, (tokens_of[group].sum() / tokens_of.sum()).item()


class StudyTrainer(Checkpoints, Trainer):
    """Trainer with a loss and a validation of ours, and checkpoints that hold the trainable tensors only."""

    def __init__(
        self,
        *arguments,
        loss: Loss,
        device_tokens: int | None,
        validate: Callable[[PreTrainedModel], dict[str, float]],
        **options,
    ):
        super().__init__(*arguments, **options)
        # As for evaluation: not in DistributedDataParallel, see parallel.py.
        self.accelerator.prepare_model = partial(self.accelerator.prepare_model, evaluation_mode=True)
        self.study_loss = loss
        self.device_tokens = device_tokens
        self.study_validate = validate

    def training_step(self, model, inputs, num_items_in_batch=None) -> torch.Tensor:
        """Forward and backward of this process's part of one effective batch, piece by piece.

        Returns the part's share of the batch's loss, times the processes: Trainer logs their mean.
        """
        model.train()
        inputs, whole = self._prepare_inputs(inputs), 0.0
        tokens, parts = counted(inputs).sum(), list(pieces(inputs, self.device_tokens))
        part = (tokens / parallel.total(tokens)).item()
        if sharded := parallel.sharded(model):
            # Layers are gathered by all processes together, and gradients averaged.
            part *= self.args.world_size
            rounds = int(parallel.most(torch.tensor(len(parts), device=tokens.device)))
            parts += [(parts[-1][0], 0.0)] * (rounds - len(parts))
        for piece, share in parts:
            loss = part * share * self.study_loss(model, piece)
            self.accelerator.backward(loss)
            whole += loss.detach()
        if not sharded:
            parallel.sum_gradients(model.parameters())
            whole *= self.args.world_size
        return self.finite(whole)


class Progress(TrainerCallback):
    """A line every few seconds with the time left, and one at the end without times."""

    def __init__(self):
        self.begun = self.told = None

    def on_train_begin(self, args, state, control, **_):
        self.begun = self.told = (time.monotonic(), state.global_step)

    def on_step_end(self, args, state, control, **_):
        # Not below what a step takes: handing that back after each one cost a fifth of the time.
        accelerator.release_memory(2 * accelerator.GROWTH)
        now = time.monotonic()
        if now - self.told[0] > 10 and state.is_world_process_zero:
            pace = (now - self.begun[0]) / (state.global_step - self.begun[1])
            left = pace * (state.max_steps - state.global_step)
            print(f"step {state.global_step}/{state.max_steps}, {pace:.2f} s a step, {left:.0f} s left", flush=True)
            self.told = (now, state.global_step)

    def on_train_end(self, args, state, control, **_):
        if state.is_world_process_zero:  # what a notebook keeps of it all: core/notebook_page.py
            print(f"training: {state.global_step} of {state.max_steps}", flush=True)


def train(
    model: PreTrainedModel,
    trainable: set[str],
    samples: list[dict],
    loss: Loss,
    validate: Callable[[PreTrainedModel], dict[str, float]],
    recipe: Recipe,
    seed: int,
    pad_id: int,
    state: Path,
    shard: bool = False,
    worked: float = 1.0,
) -> list[dict]:
    """Train the named parameters of `model` in place, in float32; returns the history, one dict a logged step.

    Goes on from the last checkpoint under `state`, if there is one, and ends at the same numbers. Validation runs
    before the first step and every `recipe.validate_every` steps. With `shard` the model's parameters are split over
    the processes and stay so. `worked` is the share of the model that a token passes through, to estimate memory.
    Raises StudyError when the memory does not suffice, the loss is not finite, or the disk is full; and within
    autocast, which keeps its rounded weights until it ends: a loss opens it for itself.
    """
    if torch.is_autocast_enabled(accelerator.device().type):
        raise StudyError("training: autocast around it would keep the first step's weights; open it in the loss")
    accelerator.release_memory()
    lengths, rows = [len(sample["input_ids"]) for sample in samples], parallel.device_batch(recipe.batch)
    tokens = min(rows * max(lengths), recipe.device_tokens or rows * max(lengths))
    parts = accelerator.processes().num_processes if shard else 1
    memory.check_fits(memory.needs(model, trainable, tokens, worked, parts))
    only(model, trainable)
    if shard:
        parallel.shard(model)
        accelerator.release_memory()
    steps = recipe.total_steps(len(samples))
    indices = order(lengths, recipe.batch, steps, seed)
    if steps == 0:
        return [{"step": 0} | {f"validation_{name}": value for name, value in validate(model).items()}]
    numbered = [sample | {"number": number} for number, sample in enumerate(samples)]
    trainer = StudyTrainer(
        model,
        TrainingArguments(**trainer_options(recipe, steps, rows, seed, state)),
        optimizers=(optimizer_of(model, recipe), None),  # None: Trainer makes it, as it makes the schedule
        data_collator=Collator(pad_id),
        train_dataset=[numbered[index] for index in indices],
        eval_dataset=[],
        loss=loss,
        device_tokens=recipe.device_tokens,
        validate=validate,
    )
    log = to_the_end(trainer, state)
    del trainer
    accelerator.release_memory()  # trainer and accelerate refer to each other: AdamW's moments would stay
    return history(log)


def optimizer_of(model: PreTrainedModel, recipe: Recipe) -> MuonAdamW | None:
    """The recipe's optimizer over what is trained; None for AdamW, which Trainer makes. StudyError where it cannot."""
    if recipe.optimizer != "muon":
        return None
    if parallel.sharded(model):
        raise StudyError("training: optimizer: muon wants whole matrices; leave `parallel: shard` out, or use adamw")
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return MuonAdamW(trained, recipe.learning_rate, recipe.weight_decay)


def only(model: PreTrainedModel, trainable: set[str]) -> None:
    """The named parameters are trained, in float32, and no others."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trainable)
        if name in trainable:  # bfloat16 keeps 8 bits: AdamW's step of 2e-5 on a weight of 0.02 would round away
            parameter.data = parameter.data.float()


def to_the_end(trainer: Trainer, state: Path) -> list[dict]:
    """Train on from the last checkpoint under `state`, if there is one; returns Trainer's log."""
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Progress())
    try:
        trainer.train(resume_from_checkpoint=last_checkpoint(state))
    except OSError as error:
        raise StudyError(f"{state}: cannot be written ({error}); free some disk space and start again") from None
    return trainer.state.log_history


def trainer_options(recipe: Recipe, steps: int, rows: int, seed: int, state: Path) -> dict:
    """What Trainer is told: the recipe, `rows` of a batch on this device, checkpoints under `state`."""
    return dict(
        output_dir=str(state),
        max_steps=steps,
        per_device_train_batch_size=rows,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=recipe.warmup_steps or math.ceil(recipe.warmup * steps),
        optim="adamw_torch_fused",
        seed=seed,
        train_sampling_strategy="sequential",  # `order` has shuffled
        eval_strategy="steps",
        eval_steps=recipe.validate_every,
        eval_on_start=True,  # a curve begins with its start
        logging_steps=recipe.validate_every,
        logging_nan_inf_filter=False,  # a nan is Progress's to see, no mean in its place
        save_steps=recipe.validate_every,
        save_total_limit=1,
        use_cpu=accelerator.device().type == "cpu",
        remove_unused_columns=False,  # `keep` and `number` are the loss's, no model's
        dataloader_pin_memory=accelerator.device().type == "cuda",
        disable_tqdm=True,  # Progress speaks
        report_to="none",
    )


def history(log: list[dict]) -> list[dict]:
    """One dict a step: Trainer's log, merged by step. A resumed run logs a step twice; the first entry stays."""
    merged: dict[int, dict] = {}
    for entry in log:
        row = merged.setdefault(entry["step"], {"step": entry["step"]})
        for key, value in entry.items():
            if key in ("loss", "grad_norm", "learning_rate") or key.startswith("validation_"):
                row.setdefault(key, value)
    return [dict(sorted(merged[step].items())) for step in sorted(merged)]
