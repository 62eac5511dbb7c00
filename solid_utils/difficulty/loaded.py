"""A few layers of a checkpoint, and all outside the layers, put in memory by Transformers' own loader."""

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from safetensors import safe_open
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    convert_and_load_state_dict_in_model,
    rename_source_key,
)
from transformers.modeling_utils import LoadStateDictConfig
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from solid_utils.difficulty.weights import Streamed
from solid_utils.model import checkpoint
from solid_utils.model.loading import without_values


def loaded(source: Streamed, kept: list[int]) -> PreTrainedModel:
    """The model of a streamed source with values outside its layers and in the layers `kept`; the others have none.

    Nothing of the source's reader is used: what is compared with it must not share its faults.
    """
    model = without_values(source.model.config, source.model.dtype)
    rules = get_model_conversion_mapping(model)
    with ExitStack() as opened:
        files = [opened.enter_context(safe_open(path, "pt", device="cpu")) for path in weight_files(source.folder)]
        slices = {key: file.get_slice(key) for file in files for key in file.keys()}  # noqa: SIM118 (not a dictionary)
        names = names_in_memory(slices, rules, model)
        wanted = {key: value for key, value in slices.items() if is_wanted(names[key], f"{source.path}.", kept)}
        dtype, plan = source.model.dtype, model._get_dtype_plan(source.model.dtype)
        settings = LoadStateDictConfig(
            device_map={"": source.device}, dtype=dtype, dtype_plan=plan, weight_mapping=rules, use_safetensors=True
        )
        convert_and_load_state_dict_in_model(model, wanted, settings)
    model.tie_weights()
    for part in model.modules():
        part._buffers |= {name: own.to(source.device) for name, own in part._buffers.items() if own is not None}
    return model.eval()


def weight_files(folder: Path) -> list[Path]:
    """The files that Transformers reads of a folder: one whole, else those that the index names."""
    if (folder / SAFE_WEIGHTS_NAME).exists():
        return [folder / SAFE_WEIGHTS_NAME]
    index = checkpoint.read_json(folder / SAFE_WEIGHTS_INDEX_NAME)
    return [folder / name for name in sorted(set(index["weight_map"].values()))]


def names_in_memory(keys: Iterable[str], rules: list, model: PreTrainedModel) -> dict[str, str]:
    """By key in the checkpoint, the parameter that it becomes, or becomes a part of."""
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
    known = model.state_dict()
    return {key: rename_source_key(key, renamings, converters, model.base_model_prefix, known)[0] for key in keys}


def is_wanted(name: str, inside: str, kept: list[int]) -> bool:
    """Does a parameter belong to a kept layer, or to none?"""
    return not name.startswith(inside) or int(name.removeprefix(inside).partition(".")[0]) in kept
