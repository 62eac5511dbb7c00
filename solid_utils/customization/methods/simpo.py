"""SimPO on preference pairs (Meng et al. 2024, arXiv:2405.14734), by TRL's CPOTrainer: the paper's alignment (B.6).

beta 2, gamma 1; rate 5e-7 for 7B and smaller models. The rate for Llama2-70B is printed as 1 x 10 to an exponent that
cannot be read, so it has no section in configs/models.yaml.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from datasets import Dataset, disable_progress_bars
from pydantic import Field, model_validator
from torch import Tensor, nn

from solid_utils.customization.methods.full import open_names
from solid_utils.customization.methods.method import Method, optional
from solid_utils.deployment.secured import SecuredSet
from solid_utils.model import models
from solid_utils.training import lora, memory, training
from solid_utils.training.checkpoints import Checkpoints

if TYPE_CHECKING:
    from solid_utils.customization.customization import CustomizationRun

LOGITS = 4  # times TRL holds them in float32, at every position: itself, shifted, their softmax and their gradient
Weight = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]


class Simpo(Method):
    """Make the better answer of each pair likelier than the worse one, by a margin, both by their mean log-likelihood.

    With `rank` and `alpha` through LoRA adapters on the open layers, else the open part itself (as method: full).
    """

    pairs: ClassVar = True

    method: Literal["simpo"]
    beta: Weight = 2.0
    gamma: Weight = 1.0

    @model_validator(mode="after")
    def adapters_are_whole(self) -> Simpo:
        if (self.rank is None) != (self.alpha is None):
            raise ValueError("rank and alpha go together: both for adapters, neither for the open part itself")
        if self.dropout and self.rank is None:
            raise ValueError("dropout: is of adapters; give rank and alpha, or leave it out")
        return self

    def check_installed(self) -> None:
        trl()

    def adapted(self, model: nn.Module, secured: SecuredSet) -> tuple[nn.Module, set[str]]:
        if self.adapters:
            return lora.wrapped(model, secured, self)
        return model, open_names(model, secured)

    def reach(self, model: nn.Module, secured: SecuredSet) -> str:
        return lora.reach(model, secured) if self.adapters else ""

    def train(self, run: CustomizationRun, model: nn.Module, names: set[str]) -> list[dict]:
        return on_pairs(self, run, model, names)

    def options(self) -> list[str]:
        adapters = [f"lora rank {self.rank}, alpha {self.alpha}"] * self.adapters
        return [f"beta {self.beta:g}", f"gamma {self.gamma:g}", *adapters]


def trl():
    """TRL's CPO, whose loss SimPO is one of."""
    return optional("trl.experimental.cpo", "simpo")


def on_pairs(method: Simpo, run: CustomizationRun, model: nn.Module, names: set[str]) -> list[dict]:
    """Train on the run's pairs; returns the history. Batches, resume and validation are the engine's own."""
    pairs, state = run.sets["train"], run.state.folder / "trainer"
    lengths = [max(len(pair["better"]["input_ids"]), len(pair["worse"]["input_ids"])) for pair in pairs]
    steps = method.total_steps(len(pairs))
    training.only(model, names)
    if steps == 0:
        return [{"step": 0} | {f"validation_{name}": value for name, value in run.validate(model).items()}]
    # The loss is a mean over pairs, so that equal pieces of a batch give the gradient of the whole.
    memory.check_fits(needs(method, model, names, max(lengths)))
    rows = piece(method, 2 * max(lengths))
    options = training.trainer_options(method, steps, rows, method.seed, state)
    # TRL's own defaults are on: bfloat16 weights and recomputed activations.
    options |= {"gradient_accumulation_steps": method.batch // rows, "bf16": False, "gradient_checkpointing": False}
    loss = {"loss_type": "simpo", "beta": method.beta, "simpo_gamma": method.gamma, "cpo_alpha": 0.0}
    settings = trl().CPOConfig(**options, **loss, max_length=run.budget.length, disable_dropout=False)
    disable_progress_bars()
    order = training.order(lengths, method.batch, steps, method.seed)
    texts = [{name: pairs[index][name] for name in ("prompt", "chosen", "rejected")} for index in order]
    trainer = trainer_class()(
        model,
        settings,
        train_dataset=Dataset.from_list(texts),
        eval_dataset=Dataset.from_list(texts[:1]),  # asked for, and never read: validation is the study's
        processing_class=run.tokenizer,
        optimizers=(training.optimizer_of(model, method), None),
    )
    trainer.study_validate = run.validate
    trainer.study_run = run
    return training.history(training.to_the_end(trainer, state))


def needs(method: Simpo, model: nn.Module, names: set[str], longest: int) -> dict[str, int]:
    """memory.needs of pairs whose sides have at most so many tokens, and what logits at every position take."""
    tokens = 2 * longest * piece(method, 2 * longest)
    logits = LOGITS * 4 * tokens * model.config.get_text_config().vocab_size
    return memory.needs(model, names, tokens, 1.0, 1) | {"logits of one piece": logits}


def piece(method: Simpo, tokens: int) -> int:
    """Pairs of one forward: the most that divide the batch and, with `tokens` a pair, fit `device_tokens`."""
    fitting = [
        rows
        for rows in range(1, method.batch + 1)
        if method.batch % rows == 0 and rows * tokens <= (method.device_tokens or method.batch * tokens)
    ]
    return max(fitting, default=1)


def trainer_class() -> type:
    """TRL's trainer with the study's checkpoints, validation, precision and noise."""

    class SimpoTrainer(Checkpoints, trl().CPOTrainer):
        def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], **options) -> Tensor:
            with models.precision(self.study_run.spec):
                return super().compute_loss(model, inputs, **options)

        def training_step(self, *arguments, **options) -> Tensor:
            return self.finite(super().training_step(*arguments, **options))

        def create_model_card(self, *_, **__) -> None:
            """None: a checkpoint is for the next start, nobody reads it."""

        def _send_telemetry(self) -> None:
            """None: TRL reports its trainers' names otherwise."""

    return SimpoTrainer
