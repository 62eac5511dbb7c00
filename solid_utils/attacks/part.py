"""The attacker's model from its first secret layer on: what lies below is open, so it is computed once and recorded."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from torch import Tensor
from transformers import PreTrainedModel

from solid_utils.deployment.view import View
from solid_utils.model.forward import answer_logits, measuring
from solid_utils.model.layers import DecoderLayers
from solid_utils.training.recorded import Recorded, record

Batch = dict[str, Tensor]


def entered(model: PreTrainedModel, seen: View, samples: dict[int, dict], folder: Path, pad_id: int) -> Recorded | None:
    """States that enter the secured part, from open weights alone; None where token ids enter.

    They keep the model's dtype, so training from them equals training from token ids (without dropout in open layers).
    """
    if not seen.first:
        return None
    layers = DecoderLayers(model)

    def compute(input_ids: Tensor, _: Tensor, keep: Tensor) -> Tensor:
        with measuring(model):
            return layers.boundary(input_ids, seen.first - 1)[keep]

    return record(folder, samples, compute, pad_id, model.config.get_text_config().hidden_size, model.dtype)


class SecuredPart:
    """The attacker's model where he trains it, begun at the states that enter it."""

    def __init__(self, model: PreTrainedModel, seen: View, states: Recorded | None):
        self.model, self.seen, self.states = model, seen, states
        self.layers = DecoderLayers(model)
        if model.device.type == "cpu":
            # Forward and backward of 16 x 128 tokens in bfloat16: 15 ms a layer, with PyTorch's fused attention 50 ms.
            model.set_attn_implementation("eager")

    def begun(self, batch: Batch) -> AbstractContextManager:
        """For the duration, a forward of this batch begins at the recorded states."""
        if self.states is None:
            return nullcontext()
        rows, real = self.states.of(batch["number"]), batch["attention_mask"].bool()
        state = rows.new_zeros(*real.shape, rows.shape[1])  # (batch, tokens, width)
        state[real] = rows
        return self.layers.leaving(state, self.seen.first - 1)

    def leaving(self, batch: Batch) -> Tensor:
        """What leaves the part at real positions, (tokens, width or vocabulary)."""
        input_ids, mask = batch["input_ids"], batch["attention_mask"]
        with self.begun(batch):
            if self.seen.outputs_only:
                return answer_logits(self.model, input_ids, mask, mask.bool()).float()
            return self.layers.boundary(input_ids, self.seen.last)[mask.bool()]
