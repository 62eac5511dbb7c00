"""Where a parameter stands in a checkpoint: as it is in memory, or in pieces that Transformers converts on loading.

Names and conversions are Transformers' own rules (transformers.core_model_loading). So a mixture of experts, whose file
holds its experts one by one and whose memory stacks them, streams as well.
"""

import copy
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key


@dataclass(frozen=True)
class Piece:
    """A tensor of an open safetensors file."""

    file: object
    key: str

    def tensor(self, _name: str) -> torch.Tensor:
        return self.file.get_tensor(self.key)


@dataclass(frozen=True)
class Converted:
    """Parameters that one of Transformers' rules makes of several tensors, or several of one tensor."""

    rule: WeightConverter
    first: str  # the parameter that the rule's pieces are collected under
    model: PreTrainedModel  # whose shapes some rules ask for; values are not looked at
    pieces: list[tuple[str, Piece]] = field(
        default_factory=list
    )  # pattern that the key matched, in Transformers' order

    def tensor(self, name: str) -> torch.Tensor:
        rule = copy.deepcopy(self.rule)  # it collects in itself
        for pattern, piece in self.pieces:
            rule.add_tensor(self.first, piece.key, pattern, piece.tensor(name))
        made = rule.convert(self.first, model=self.model, config=self.model.config)[name]
        return made[0] if isinstance(made, list) else made

    def names(self) -> list[str]:
        """All parameters that the rule makes."""
        patterns = self.rule.target_patterns
        return [self.first.replace(patterns[0], pattern) for pattern in patterns]


def places(files: dict[str, object], model: PreTrainedModel) -> dict[str, Piece | Converted]:
    """Where each parameter and buffer of `model` stands: `files` holds the open safetensors file of every key."""
    rules, known, found = get_model_conversion_mapping(model), model.state_dict(), {}
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
    by_pattern = {pattern: rule for rule in converters for pattern in rule.source_patterns}
    for key in sorted(files, key=dot_natural_key):  # as Transformers does: experts are stacked in this order
        name, pattern = rename_source_key(key, renamings, converters, model.base_model_prefix, known)
        if name not in known and key in known:  # it has its name in memory already
            name, pattern = rename_source_key(key, [], [], model.base_model_prefix, known)
        piece = Piece(files[key], key)
        if pattern is None:
            found[name] = piece
        elif name in known:
            whole = found.setdefault(name, Converted(by_pattern[pattern], name, model))
            whole.pieces.append((pattern, piece))
            found |= {one: whole for one in whole.names()}
    return found
