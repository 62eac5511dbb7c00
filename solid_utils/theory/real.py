"""The theorem's quantities on a real decoder: what its states and attention do by depth, with one layer random.

The theorem's stack has no values, no MLP, no norms and no mask. Here all of them run; only the numbers are the same.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from solid_utils.core.errors import StudyError
from solid_utils.deployment import starts
from solid_utils.model.layers import hidden
from solid_utils.model.structure import decoder_layers, layer_parameters

TEXTS = 40  # whatever the tier: on how many attacks are scored is another question
HEAD = "tau_head_{}"  # the quantity of one head, counted from 0


def centred_share(states: Tensor) -> float:
    """|X - mean row|_F / |X|_F of (tokens, width): 0 where all rows are one, as at the theorem's limit."""
    return float((states - states.mean(0)).norm() / states.norm())


def effective_rank(states: Tensor) -> float:
    """exp(entropy of the singular values as shares): 1 at rank one, at most the number of tokens."""
    # From the small Gram matrix: singular values of (64, 576) took most of the minute.
    values = torch.linalg.eigvalsh(states.double() @ states.double().T).clamp(min=0).sqrt()
    shares = values / values.sum()
    return float(torch.exp(torch.special.entr(shares).sum()))


def mean_cosine(states: Tensor) -> float:
    """Mean cosine of two different rows, (tokens, width)."""
    unit = torch.nn.functional.normalize(states, dim=-1)
    count = len(unit)
    return float((unit.sum(0).square().sum() - count) / (count * (count - 1)))


def of_states(states: Tensor) -> dict[str, float]:
    """All quantities of one text's states, (tokens, width), float32."""
    return {
        "centred_share": centred_share(states),
        "effective_rank": effective_rank(states),
        "cosine": mean_cosine(states),
        # The first token is where attention drains to; its state alone can make all others look alike, or different.
        "cosine_without_first": mean_cosine(states[1:]),
    }


def of_attention(weights: Tensor, by_head: bool = False) -> dict[str, float]:
    """Of one text's attention in one layer, (heads, tokens, tokens), rows summing to one; `by_head`: tau of each, too.

    Under a causal mask row 0 sees column 0 only, so tau = 1 - min_i S_i0: what every token gives the first one.
    """
    columns = weights.sum(1)
    tau = 1 - weights.min(1).values.sum(-1)
    heads = {HEAD.format(place): float(one) for place, one in enumerate(tau)} if by_head else {}
    return heads | {
        "columns_off": float(((columns - 1).abs() > 0.01).float().mean()),
        "column_first": float(columns[:, 0].mean()),
        "tau_mean": float(tau.mean()),
        "tau_smallest": float(tau.min()),
        "tau_largest": float(tau.max()),
    }


@contextmanager
def random_layer(model: PreTrainedModel, place: int, seed: int) -> Iterator[None]:
    """For the duration, decoder layer `place` has fresh Xavier weights. Raises StudyError where there is none."""
    inside = layer_parameters(model)
    if not 0 <= place < len(inside):
        raise StudyError(f"theory: no layer {place} in a model of {len(inside)}; choose another place")
    parameters = dict(model.named_parameters())
    own = {name: parameters[name].detach().clone() for name in inside[place]}
    starts.apply(model, starts.draw(model, inside[place], "xavier", seed))
    try:
        yield
    finally:
        starts.apply(model, own)


@contextmanager
def seen_states(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """For the duration, every forward fills the list: what enters layer 0, and what leaves each layer."""
    states: list[Tensor] = []
    layers = decoder_layers(model)[1]

    def enter(_module, args, kwargs) -> None:
        states[:] = [args[0] if args else kwargs["hidden_states"]]

    hooks = [layers[0].register_forward_pre_hook(enter, with_kwargs=True)]
    hooks += [
        layer.register_forward_hook(lambda _module, _args, output: states.append(hidden(output))) for layer in layers
    ]
    try:
        yield states
    finally:
        for hook in hooks:
            hook.remove()


@torch.inference_mode()
def profile(model: PreTrainedModel, ids: Tensor, by_head: bool = False) -> tuple[list[dict[str, float]], Tensor]:
    """Quantities by depth of one text, (tokens,) ids: depth 0 is the embeddings; and the log-probabilities.

    The attention of layer i stands at depth i + 1. The model must use eager attention.
    """
    with seen_states(model) as states:
        output = model(input_ids=ids[None], use_cache=False, output_attentions=True)
        found = [of_states(state[0].float()) for state in states]
    for depth, weights in enumerate(output.attentions, start=1):
        found[depth] |= of_attention(weights[0].float(), by_head)
    return found, output.logits[0].float().log_softmax(-1)


def measure(model: PreTrainedModel, texts: list[list[int]], places: list[int], seed: int) -> list[dict]:
    """Rows {variant, place, depth, quantity, value, n}, means over texts: the victim, and one random layer at a time.

    The row `kl` (nats a token, at the full depth) compares the next-token distributions with the victim's. tau of each
    head stands in the victim's rows alone (HEAD).
    """
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")  # the fast kernels never hold the weights that are asked for
    try:
        return _measured(model, [torch.tensor(ids, device=model.device) for ids in texts], places, seed)
    finally:
        model.set_attn_implementation(before)


def _measured(model: PreTrainedModel, texts: list[Tensor], places: list[int], seed: int) -> list[dict]:
    rows, clean = [], []
    with tqdm(total=len(texts) * (1 + len(places)), desc="states by depth", mininterval=5) as bar:
        profiles = []
        for ids in texts:
            found, logs = profile(model, ids, by_head=True)
            profiles.append(found)
            clean.append(logs)
            bar.update()
        rows += averaged("victim", None, profiles)
        for place in places:
            profiles, divergences = [], []
            with random_layer(model, place, seed):
                for ids, own in zip(texts, clean, strict=True):
                    found, logs = profile(model, ids)
                    profiles.append(found)
                    divergences.append(float((own.exp() * (own - logs)).sum(-1).mean()))
                    bar.update()
            rows += averaged("one random layer", place, profiles)
            last = {"depth": len(profiles[0]) - 1, "quantity": "kl", "value": np.mean(divergences), "n": len(texts)}
            rows.append({"variant": "one random layer", "place": place} | last)
    return rows


def averaged(variant: str, place: int | None, profiles: list[list[dict[str, float]]]) -> list[dict]:
    """Means over texts, one row a depth and quantity."""
    rows = []
    for depth, first in enumerate(profiles[0]):
        for quantity in first:
            value = float(np.mean([one[depth][quantity] for one in profiles]))
            of = {"depth": depth, "quantity": quantity, "value": value, "n": len(profiles)}
            rows.append({"variant": variant, "place": place} | of)
    return rows
