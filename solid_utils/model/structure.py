"""Where the parts of a causal language model are: its decoder layers, what follows them, embeddings and head.

All is read off the modules and one real forward, never off a model class (any Hugging Face decoder).
"""

import torch
from torch import nn

from solid_utils.core.errors import StudyError


def decoder_layers(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """Path and list of the decoder layers, by structure: the outermost ModuleList as long as the text model is deep.

    Raises StudyError where there is none.
    """
    depth, inside, elsewhere = model.config.get_text_config().num_hidden_layers, None, None
    # A vision or speech tower may be as deep and stand first; whose text the model says is Transformers' own answer.
    text = model.get_decoder() if hasattr(model, "get_decoder") else model
    for path, module in model.named_modules():  # from the outside in
        inside = path if module is text and inside is None else inside
        if not isinstance(module, nn.ModuleList) or len(module) != depth:
            continue
        if inside is not None and f".{path}.".startswith(f".{inside}.".replace("..", ".")):
            return path, module
        elsewhere = elsewhere or (path, module)
    if elsewhere is None:
        raise StudyError(
            f"{type(model).__name__}: no list of {depth} decoder layers found; this architecture is not supported"
        )
    return elsewhere


def tied_layers(model: nn.Module) -> list[str]:
    """Names of parameters inside a decoder layer that are a parameter of another layer, or of none, as well."""
    prefix, places = f"{decoder_layers(model)[0]}.", {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        place = name.removeprefix(prefix).partition(".")[0] if name.startswith(prefix) else "outside"
        places.setdefault(id(parameter), {}).setdefault(place, name)
    return [" and ".join(names.values()) for names in places.values() if len(names) > 1]


def parameters_after_layers(model: nn.Module) -> set[str]:
    """Names of parameters used only after the last decoder layer (final norm, untied head), found by one real forward.

    Tied weights count where they are used first, so a tied head belongs to the embeddings and is not returned.
    """
    _, layers = decoder_layers(model)
    done = [False]
    used_before, used_after = set(), set()
    inside = {id(module) for layer in layers for module in layer.modules()}

    def record(module, _):
        if id(module) not in inside:
            used = {id(parameter) for parameter in module.parameters(recurse=False)}  # not its children's
            (used_after if done[0] else used_before).update(used)

    def finished(*_):
        done[0] = True

    hooks = [module.register_forward_pre_hook(record) for module in model.modules()]
    hooks.append(layers[-1].register_forward_hook(finished))
    try:
        with torch.no_grad():
            model(input_ids=torch.tensor([[0, 1, 2]], device=next(model.parameters()).device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return {name for name, parameter in model.named_parameters() if id(parameter) in used_after - used_before}


def layer_parameters(model: nn.Module) -> list[list[str]]:
    """Parameter names of every decoder layer, in the model's order."""
    path, layers = decoder_layers(model)
    inside = [[] for _ in layers]
    for name, _ in model.named_parameters():
        if name.startswith(f"{path}."):
            inside[int(name.removeprefix(f"{path}.").partition(".")[0])].append(name)
    return inside


def positions(model: nn.Module) -> int | None:
    """How many tokens a model has positions for; None where they are computed and never run out (rotary, ALiBi).

    A table of positions is an embedding or a buffer as long as the configuration says (GPT-2, OPT, BERT; GPT-J, CTRL).
    Some begin at a later row: OPT's at its `offset`, RoBERTa's after the padding's.
    """
    config, tokens = model.config.get_text_config(), model.get_input_embeddings()
    said = [getattr(config, key, None) for key in ("n_positions", "max_position_embeddings")]
    # MPT keeps no table and fails beyond its length all the same.
    found = [length] if isinstance(length := getattr(config, "max_seq_len", None), int) else []
    for path, module in model.named_modules():
        skipped = getattr(module, "offset", 0) if isinstance(module, nn.Embedding) else 0
        tables = {path: module.weight} if isinstance(module, nn.Embedding) and module is not tokens else {}
        if tables and not skipped and module.padding_idx is not None:
            skipped = module.padding_idx + 1
        tables |= {f"{path}.{name}": buffer for name, buffer in module.named_buffers(recurse=False)}
        for name, table in tables.items():
            leaf, rows = name.rpartition(".")[2], table.shape[0] if table.ndim == 2 else 0
            if ("pos" in leaf or leaf == "wpe") and any(length and 0 <= rows - length <= skipped for length in said):
                found.append(rows - skipped)
    return min(found, default=None)


def is_tied(model: nn.Module) -> bool:
    """Is the head's weight the embeddings' tensor?"""
    return model.get_output_embeddings().weight is model.get_input_embeddings().weight


def ends(model: nn.Module, term: str) -> set[str]:
    """Parameter names of the token "embeddings" or of the "head"."""
    module = model.get_input_embeddings() if term == "embeddings" else model.get_output_embeddings()
    own = {id(parameter) for parameter in module.parameters()}
    return {name for name, parameter in model.named_parameters() if id(parameter) in own}
