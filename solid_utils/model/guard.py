"""Questions to a model before anything is measured on it: a few plain forwards of at most 32 tokens, answers in a line.

Everything here takes a text's states layer by layer, in padded batches, and begins at recorded ones. What is true of
the usual decoders need not be true of the next one, so it is asked, not assumed.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from solid_utils.core.errors import StudyError
from solid_utils.model.forward import answer_logits, measuring, pad
from solid_utils.model.layers import DecoderLayers

TOKENS = 32  # of a text
# In standard deviations of the logits. Float32 sums in another order are off by 1e-5; a wrong state by 0.1 and more.
TOLERANCE = 1e-3
COARSE = 0.2  # the same for weights in bfloat16 or float16, where rounding alone is off by 0.05
# The same where the same sums run in the same order, in any dtype. Causal models are off by nothing, but ProphetNet's
# two streams by 2e-5; BERT with its first, small weights by 0.02.
ROUNDING = 1e-4
NOTHING = "nothing was run"
_passed: set[tuple] = set()


def texts(samples: list[dict]) -> list[list[int]]:
    """Tokens of two of the samples, at most TOKENS, of different lengths, so that a batch of them is padded."""
    rows = [sample["input_ids"][:TOKENS] for sample in (samples * 2)[:2]]
    if len(rows[0]) == len(rows[1]) > 2:
        rows[1] = rows[1][: max(2, 3 * len(rows[1]) // 4)]
    return rows


def check_config(config: PreTrainedConfig, where: str) -> None:
    """Raise StudyError for a model with an encoder: which of its layers to secure is no question of this study."""
    if getattr(config, "is_encoder_decoder", False):
        raise StudyError(f"{where}: {config.model_type} is an encoder with a decoder; give a decoder-only model")


@contextmanager
def taken_apart(what: str) -> Iterator[None]:
    """Whatever a strange architecture raises inside becomes one line: there is nothing that the user could mend."""
    try:
        yield
    except (StudyError, MemoryError, OSError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:120]
        raise StudyError(
            f"{what}: its forward cannot be taken apart layer by layer ({type(error).__name__}: {said}); "
            f"{NOTHING}, this architecture is not supported"
        ) from None


def plain(model: nn.Module, row: list[int]) -> Tensor:
    """Float32 logits (tokens, vocabulary) of one text alone, by the model's own forward and nothing else.

    Raises StudyError where they are not finite.
    """
    ids = torch.tensor([row], device=model.get_input_embeddings().weight.device)
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0].float()
    if not logits.isfinite().all():
        raise StudyError(f"guard: {type(model).__name__}: its logits are not finite; {NOTHING}, get the weights again")
    return logits


def deviation(model: nn.Module, ours: Tensor, true: Tensor) -> float:
    """How far logits (tokens, vocabulary) are off, in standard deviations of the true ones; inf if not finite.

    The largest, or with routed experts the median over tokens of each token's largest: the last digit may send one
    token to another expert, which is no fault.
    """
    by_token = (ours - true).abs().amax(-1)  # (tokens,)
    routed = any("expert" in name for name, _ in model.named_parameters())
    worst = by_token.median() if routed else by_token.max()
    off = (worst / true.std().clamp_min(1e-12)).item()
    return off if math.isfinite(off) else math.inf


def tolerance(model: nn.Module) -> float:
    """The deviation that a model's own dtype explains."""
    return TOLERANCE if model.dtype in (torch.float32, torch.float64) else COARSE


def check_causal(model: nn.Module, row: list[int]) -> None:
    """Raise StudyError where changing the last token moves logits before it."""
    last = next((token for token in row if token != row[-1]), (row[-1] + 1) % 2)
    before = plain(model, row)[:-1]
    off = deviation(model, plain(model, [*row[:-1], last])[:-1], before)
    if off > ROUNDING:
        raise StudyError(
            f"guard: {type(model).__name__} looks ahead: another last token moves the logits before it by {off:.2g} of "
            f"their standard deviation; {NOTHING}, give a causal model (for BERT and RoBERTa: is_decoder: true)"
        )


def check_padding(model: nn.Module, rows: list[list[int]], pad_id: int) -> None:
    """Raise StudyError where a right-padded batch does not answer as each text alone."""
    device = model.get_input_embeddings().weight.device
    ids, mask = (tensor.to(device) for tensor in pad(rows, pad_id))
    together = answer_logits(model, ids, mask, mask.bool()).float().split([len(row) for row in rows])
    off = max(deviation(model, ours, plain(model, row)) for ours, row in zip(together, rows, strict=True))
    if off > tolerance(model):
        raise StudyError(
            f"guard: {type(model).__name__}: in a padded batch logits are off by {off:.2g} of their standard deviation "
            f"(at most {tolerance(model):g}); {NOTHING}, this architecture is not supported"
        )


def check_begun(model: nn.Module, row: list[int], first: int) -> None:
    """Raise StudyError where a forward begun at what enters layer `first` does not end as the plain one."""
    layers, true = DecoderLayers(model), plain(model, row)
    ids = torch.tensor([row], device=layers.device)
    state, what = layers.boundary(ids, first - 1), f"guard: {type(model).__name__}: begun at what enters layer {first}"
    with taken_apart(what), layers.leaving(state, first - 1):
        off = deviation(model, plain(model, row), true)
    if off > tolerance(model):
        raise StudyError(
            f"{what}, logits are off by {off:.2g} of their standard deviation (at most {tolerance(model):g}); "
            f"{NOTHING}, this architecture is not supported"
        )


def check(model: nn.Module, samples: list[dict], pad_id: int, first: int = 0) -> None:
    """Before an attack or a customization: is the model causal, may batches be padded, may work begin at layer `first`?

    Raises StudyError in one line. Asked once for each architecture. Autocast is off inside: its rounding is none of
    these questions.
    """
    rows, asked = texts(samples), (type(model), model.config.to_json_string(), first)
    if asked in _passed:
        return
    with measuring(model), torch.autocast(model.device.type, enabled=False):
        check_causal(model, rows[0])
        check_padding(model, rows, pad_id)
        if first:
            check_begun(model, rows[0], first)
    _passed.add(asked)
