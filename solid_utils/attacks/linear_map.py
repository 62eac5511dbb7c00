"""One linear map in place of the secured layers, fitted in closed form: what no training at all gets.

From the states that enter the secured layers at a token and a few before it, ridge regression predicts the states that
leave them. Below a bottom set these are the token embeddings. (Linear maps between layers of frozen models: model
stitching, Bansal et al. 2021, arXiv:2106.07682. Not in the paper.)
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers import PreTrainedModel

from solid_utils.core.errors import StudyError
from solid_utils.deployment.oracle import Oracle
from solid_utils.deployment.view import View
from solid_utils.model import accelerator, tensors
from solid_utils.model.forward import pad
from solid_utils.model.layers import DecoderLayers, Form
from solid_utils.model.ridge_map import HELD_OUT, Equations, chosen, features

BATCH = 16  # texts at a time


class Through(nn.Module):
    """Stands where a decoder layer stood and hands its input on, in the form the model expects (DecoderLayers)."""

    def __init__(self, form: Form):
        super().__init__()
        self.form = form

    def forward(self, states: Tensor, *_, **__) -> Tensor | tuple:
        return self.form(states)


class Stitch(Through):
    """What the secured layers add to the states that enter them, as a linear function; (batch, tokens, width) each.

    It looks at earlier states, so it runs on whole sequences, never on key-value caches.
    """

    def __init__(self, weights: Tensor, form: Form):
        """`weights`: (features, width); their number says how many previous tokens are looked at."""
        super().__init__(form)
        self.linear = nn.Linear(*weights.shape, bias=False, device=weights.device, dtype=weights.dtype)
        self.linear.weight = nn.Parameter(weights.T.contiguous(), requires_grad=False)
        self.previous = (weights.shape[0] - 2) // weights.shape[1] - 1
        self.mask: Tensor | None = None

    def note(self, _module: nn.Module, _inputs: tuple, named: dict) -> None:
        """A hook before the model's forward: decoder layers do not see the mask of padding as it was given."""
        if named.get("past_key_values") is not None:
            raise StudyError(
                "stitch: it looks at previous tokens and keeps no cache; call the model with use_cache=False"
            )
        self.mask = named.get("attention_mask")

    def added(self, states: Tensor) -> Tensor:
        """What is added to the states that enter."""
        mask = torch.ones_like(states[..., 0]) if self.mask is None else self.mask
        return self.linear(features(states, mask, self.previous))

    def forward(self, states: Tensor, *_, **__) -> Tensor | tuple:
        return super().forward(states + self.added(states))


def install(model: PreTrainedModel, seen: View, weights: Tensor) -> None:
    """Put a stitch of these weights (features, width) in place of the secured layers of the attacker's own model.

    `seen` is the view of the deployment's secured set; a layer with a single secret matrix is replaced as a whole.
    """
    layers = DecoderLayers(model)
    stitch = Stitch(weights.to(layers.device, model.dtype), layers.form)
    for index in seen.stages:
        layers.layers[index] = stitch if index == seen.first else Through(layers.form)
    model.register_forward_pre_hook(stitch.note, with_kwargs=True)
    without_caches(model)


def without_caches(model: PreTrainedModel) -> None:
    """From now on the model caches no keys and values: generate() and forward.shares_prefixes look here."""
    model.config.get_text_config().use_cache = model.generation_config.use_cache = False


def save(weights: Tensor, path: Path) -> None:
    """Keep weights (features, width) in bfloat16. Raises StudyError when the file cannot be written."""
    tensors.save({"stitch": weights.bfloat16().contiguous().cpu()}, path)


def load(path: Path) -> Tensor:
    """Weights (features, width) that `save` kept, float32. Raises StudyError where the file is not what was kept."""
    return tensors.load(path)["stitch"].float()


def fit(
    model: PreTrainedModel,
    oracle: Oracle,
    samples: list[dict],
    previous: int,
    scaled: bool = False,
    first_apart: bool = False,
) -> Tensor:
    """Weights (features, width) of the best stitch with at most `previous` previous tokens; `model` is the attacker's.

    Every token counts by its relative error, |s - t|^2 / |t|^2, as in SEM. Penalty and number of previous tokens are
    chosen on every ninth text; then all texts count. Asks the oracle once for each text. `scaled`: see Equations.solve;
    `first_apart`: see ridge_map.row_weights.
    Raises StudyError where the states that enter or leave are not visible, with a single text, of which none would be
    left to fit on, or where the equations do not fit in memory.
    """
    if len(samples) < 2:
        raise StudyError(f"attack stitch: {len(samples)} texts; one is held out, so ask about two at least (queries)")
    if oracle.view.stages[:1] == (-1,):
        raise StudyError(
            f"attack stitch: '{oracle.secured.declaration}' hides the embeddings, so what enters the layers is not "
            "known; secure decoder layers only"
        )
    parts = [sample for number, sample in enumerate(samples) if number % HELD_OUT], samples[::HELD_OUT]
    total, held_out = (equations(model, oracle, part, previous, first_apart) for part in parts)
    return chosen(total, held_out, previous, scaled)


def equations(
    model: PreTrainedModel, oracle: Oracle, samples: list[dict], previous: int, first_apart: bool = False
) -> Equations:
    """Normal equations from the states that enter to what the victim's secured layers add; rows are scaled by 1/|t|."""
    layers = DecoderLayers(model)
    first = oracle.view.first
    width = model.config.get_text_config().hidden_size
    inputs = 2 + (previous + 1) * width
    accelerator.check_memory(4 * 8 * inputs**2, f"the normal equations of a stitch with {previous} previous tokens")
    made = Equations(inputs, width, layers.device, first_apart)
    for start in tqdm(range(0, len(samples), BATCH), desc="stitch", unit="batch", mininterval=5):
        ids, mask = pad([sample["input_ids"] for sample in samples[start : start + BATCH]], 0)
        ids = ids.to(layers.device)
        mask = mask.to(layers.device)
        target = oracle.boundary(ids, mask)
        with torch.no_grad(), layers.replaced({first: layers.skip}):
            entering = layers.boundary(ids, first)  # a skipped layer hands on what enters it
        made.take(entering, target, mask, previous)
    return made
