"""What every trainer of the study does in its own way: checkpoints of what is trained, without a pickle of its tensors;
validation; a loss that must be a number.

Apart, so that Trainer and what is built on it (TRL's trainers) do it alike.
"""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from solid_utils.core.errors import StudyError
from solid_utils.model import accelerator, tensors
from solid_utils.training import parallel


class Checkpoints:
    """Stands before a Trainer among a class's bases; `study_validate` scores a model on the validation set."""

    study_validate: Callable[[PreTrainedModel], dict[str, float]]

    def finite(self, loss: Tensor) -> Tensor:
        """The loss of a step. Raises StudyError where it is none.

        In every step: a log that comes too late, or never, would let a replica of nan pass for a secure model.
        """
        if not torch.isfinite(loss):
            raise StudyError(
                f"training: loss is {loss.item()} at step {self.state.global_step + 1}; lower learning_rate in "
                "configs/tiers.yaml"
            )
        return loss

    def evaluate(self, *_, **__) -> dict[str, float]:
        self.model.eval()
        metrics = {f"validation_{name}": value for name, value in self.study_validate(self.model).items()}
        self.log(dict(metrics))
        accelerator.release_memory()  # logits of the validation set, before the next step's activations
        self.control.should_evaluate = False  # or the end of the run would validate a second time
        return metrics

    def floating_point_ops(self, inputs: dict) -> int:
        """None: Trainer's own count walks through all parameters in every step, and is wrong for a part of them."""
        return 0

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        parameters = {name: p.detach() for name, p in self.model.named_parameters() if p.requires_grad}
        trainable = {name: accelerator.whole(tensor).contiguous() for name, tensor in parameters.items()}
        if self.args.should_save:
            tensors.save({name: part.cpu() for name, part in trainable.items()}, Path(output_dir) / "model.safetensors")

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        parallel.save_state(self.optimizer, self.lr_scheduler, Path(output_dir) / "optimizer")

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            parallel.load_state(self.optimizer, self.lr_scheduler, Path(checkpoint) / "optimizer")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model=None) -> None:
        weights = tensors.load(path := Path(resume_from_checkpoint) / "model.safetensors")
        if other := set(weights) ^ {name for name, p in self.model.named_parameters() if p.requires_grad}:
            raise StudyError(f"{path}: {sorted(other)[0]} is not in both file and model; delete its folder")
        if parallel.sharded(self.model):
            return parallel.load_weights(self.model, weights)
        return self.model.load_state_dict(weights, strict=False)


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint. Trainer writes trainer_state.json last, so one without it was cut short."""
    whole = []
    for path in folder.glob("checkpoint-*/trainer_state.json"):
        try:
            whole.append((json.loads(path.read_text())["global_step"], str(path.parent)))
        except (json.JSONDecodeError, KeyError):
            continue
    return max(whole)[1] if whole else None
