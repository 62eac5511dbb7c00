"""Whether the tensors of a checkpoint are those of a model, told from the files' headers before a value is read."""

import math
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightRenaming, rename_source_key
from transformers.utils.loading_report import LoadStateDictInfo

from solid_utils.core.errors import StudyError
from solid_utils.model.checkpoint import Checkpoint
from solid_utils.model.tensors import AGAIN, Stored

FEW = 3  # names in a line


def told(checkpoint: Checkpoint, report: LoadStateDictInfo) -> None:
    """Raises StudyError where a loading report has anything to say."""
    if mismatched := sorted(report.mismatched_keys):
        name, has, wanted = mismatched[0]
        raise StudyError(
            f"{checkpoint}: {name} is of shape {tuple(has)}, the configuration says {tuple(wanted)}"
            f"{more(len(mismatched) - 1)}; {AGAIN}, or mend config.json"
        )
    if missing := sorted(report.missing_keys):
        raise StudyError(
            f"{checkpoint}: {listed(missing)} missing, and would be random; give a checkpoint that holds all of the "
            "model's parameters"
        )
    if unexpected := sorted(report.unexpected_keys):
        raise StudyError(
            f"{checkpoint}: {listed(unexpected)} belongs nowhere in this model; give the checkpoint and the "
            "config.json that belong together"
        )


def listed(names: list[str]) -> str:
    return f"{', '.join(names[:FEW])}{more(len(names) - FEW)}"


def more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""


def check_names(checkpoint: Checkpoint, skeleton: PreTrainedModel, opened: list[Stored]) -> None:
    """Raises StudyError where names, shapes and dtypes in the headers are not those of the model's parameters.

    `skeleton`: the model, its parameters on the meta device. By Transformers' own rules for names: what it renames,
    ties, converts or leaves out on loading is no fault.
    """
    known, given = skeleton.state_dict(), sources(skeleton, opened)
    numbers = {name for name, _ in skeleton.named_parameters(remove_duplicate=False)} & set(given)
    for source in (one for name in sorted(numbers) for one in given[name]):
        check_type(source)
    shapes = {name: tuple(known[name].shape) for name in set(given) & set(known)}
    found = {name: shapes[name] if given[name][0].converted else shape(given[name][0]) for name in shapes}
    mismatched = {(name, found[name], shapes[name]) for name in shapes if found[name] != shapes[name]}
    report = LoadStateDictInfo(set(known) - set(given), set(given) - set(known), mismatched, [], {}, set())
    skeleton._adjust_missing_and_unexpected_keys(report)
    tied = dict(skeleton.all_tied_weights_keys)
    report.missing_keys = {name for name in report.missing_keys if not is_tied(name, tied, set(given))}
    told(checkpoint, report)
    check_parts(checkpoint, known, given)
    for target, source in tied.items():
        if target in given and source in given and not same(given[target][0], given[source][0]):
            raise StudyError(
                f"{checkpoint}: {target} and {source} differ, the configuration says they are one; set "
                "tie_word_embeddings: false in config.json"
            )


@dataclass(frozen=True)
class Source:
    """A tensor of a file, and the parameters that it goes into."""

    stored: Stored
    key: str
    names: tuple[str, ...]
    converted: bool


def sources(skeleton: PreTrainedModel, opened: list[Stored]) -> dict[str, list[Source]]:
    """Parameter -> the tensors of the files that it is made of, one unless they are converted."""
    naming, given = Naming(skeleton), {}
    for stored in opened:
        for key in stored.keys():  # noqa: SIM118 (no dictionary)
            source = Source(stored, key, *naming.targets(key))
            for name in source.names:
                given.setdefault(name, []).append(source)
    for name, found in given.items():
        if len(found) > 1 and not all(source.converted for source in found):
            raise StudyError(f"{found[0].stored.path}: {found[0].key} and {found[1].key} are both {name}; {AGAIN}")
    return given


def check_type(source: Source) -> None:
    """Raises StudyError where a parameter would be made of what is no floating-point number."""
    dtype = source.stored.dtypes[source.key]
    if dtype == "BOOL" or dtype[0] not in "BF":  # BF16, F32, F8_E4M3, ...
        raise StudyError(
            f"{source.stored.path}: {source.key} is of type {dtype}, no floating-point numbers, and config.json names "
            "no quantisation; dequantise the model and save it again"
        )


def shape(source: Source) -> tuple[int, ...]:
    return source.stored.shapes[source.key]


def check_parts(checkpoint: Checkpoint, known: dict[str, torch.Tensor], given: dict[str, list[Source]]) -> None:
    """Raises StudyError where parameters that are stored in parts, such as experts, lack one. Names are not enough:
    an expert that is not there is no missing key."""
    for found in given.values():
        if found[0].converted:
            names = [name for name in found[0].names if name in known]
            has = sum(math.prod(shape(source)) for source in found)
            if has != (wanted := sum(known[name].numel() for name in names)):
                raise StudyError(
                    f"{checkpoint}: the tensors that make up {listed(names)} hold {has:,} numbers, the configuration "
                    f"says {wanted:,}; {AGAIN}, or mend config.json"
                )


def same(one: Source, other: Source) -> bool:
    """Are two tensors of the files the same numbers?"""
    return torch.equal(*(source.stored.get_tensor(source.key) for source in (one, other)))


def is_tied(name: str, tied: dict[str, str], given: set[str]) -> bool:
    """Does a file give a parameter's value under another name? `tied`: target -> source; either may be given."""
    source = tied.get(name, name)
    return source in given or any(other in given for other, one in tied.items() if one == source)


class Naming:
    """What Transformers calls a tensor of a file in the model, by its own renamings and conversions."""

    def __init__(self, skeleton: PreTrainedModel):
        rules = get_model_conversion_mapping(skeleton)
        self.converters = [rule for rule in rules if not isinstance(rule, WeightRenaming)]
        self.renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
        self.prefix, self.known = skeleton.base_model_prefix, skeleton.state_dict()

    def targets(self, key: str) -> tuple[tuple[str, ...], bool]:
        """Names of the parameters that a tensor goes into, and whether it is converted on the way."""
        name, pattern = rename_source_key(key, self.renamings, self.converters, self.prefix, self.known)
        if name not in self.known and key in self.known:
            return (key,), False
        if pattern is None:
            return (name,), False
        rule = next(rule for rule in self.converters if pattern in rule.source_patterns)
        return tuple(name.replace(rule.target_patterns[0], target) for target in rule.target_patterns), True
