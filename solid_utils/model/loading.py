"""The one door for a model's weights: what Transformers says about a load is read, not thrown away.

A parameter that is missing, of another shape, not a number, or a tensor that belongs nowhere: refused in one line. A
random layer in place of a missing one would make every score a number, and none of them true.
"""

import functools
import gc
import inspect
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import init_empty_weights
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.core_model_loading import build_glob_alternation
from transformers.initialization import no_init_weights
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING
from transformers.utils import logging as transformers_logging
from transformers.utils.loading_report import LoadStateDictInfo

from solid_utils.core.errors import StudyError
from solid_utils.model.checkpoint import Checkpoint
from solid_utils.model.headers import check_names, told
from solid_utils.model.tensors import AGAIN, Stored, finite, first_line

transformers_logging.disable_progress_bar()
transformers_logging.set_verbosity_error()  # what its loading report says is read here, and raised


def read_config(checkpoint: Checkpoint) -> PreTrainedConfig:
    """A checkpoint's configuration. Raises StudyError where Transformers has no such model or cannot read it."""
    with refused(checkpoint, "its configuration cannot be read", "save the model again with save_pretrained"):
        config = AutoConfig.from_pretrained(checkpoint.folder, trust_remote_code=False, **checkpoint.named)
    check_numbers(checkpoint, config)
    return config


def check_numbers(checkpoint: Checkpoint, config: PreTrainedConfig) -> None:
    """Raises StudyError where a size in the configuration is none, or no checkpoint of this size has so many layers."""
    text, place = config.get_text_config(), place_of_config(checkpoint)
    for key in ("num_hidden_layers", "hidden_size", "vocab_size", "num_attention_heads"):
        value = getattr(text, key, 1)
        if isinstance(value, bool) or not isinstance(value, int | list) or (isinstance(value, int) and value < 1):
            raise StudyError(f"{place}: {key} is {value!r}; write a whole number of at least 1")
    layers, bytes_there = getattr(text, "num_hidden_layers", 1), sum(path.stat().st_size for path in checkpoint.files)
    if isinstance(layers, int) and layers > bytes_there:  # before a model of that many is made
        raise StudyError(f"{place}: num_hidden_layers is {layers}, the weights are {bytes_there} bytes; mend either")


def place_of_config(checkpoint: Checkpoint) -> Path:
    return checkpoint.files[0] if checkpoint.gguf else checkpoint.folder / "config.json"


def load(checkpoint: Checkpoint, dtype: torch.dtype, opened: list[Stored] | None = None) -> PreTrainedModel:
    """The whole model in memory, in evaluation mode, dequantised where it is quantised.

    Files that the study wrote are checked against their digests; `opened`: the files, where the caller has opened them.
    Raises StudyError where Transformers would put a random, cut or converted tensor in place of one of the file's.
    """
    config = read_config(checkpoint)
    method = quantised(config)
    imports_stay()
    if not checkpoint.gguf:
        opened = opened or checkpoint.opened()
        for stored in opened:
            if stored.digests:  # the study's own file
                for name in stored.keys():  # noqa: SIM118 (no dictionary)
                    stored.get_tensor(name)
        if not method:
            check_names(checkpoint, hollow(checkpoint, config, dtype), opened)
    if method and method not in AUTO_QUANTIZATION_CONFIG_MAPPING:
        raise StudyError(f"{checkpoint}: quantised with {method}, which Transformers does not know; {fix(method)}")
    with_method = f"quantised with {method}, it" if method else "it"
    with refused(checkpoint, f"{with_method} cannot be loaded", fix(method)), the_folder(checkpoint) as folder:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            config=dequantising(config) if method else None,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # the report names them
            output_loading_info=True,
            **checkpoint.named,
        )
    told(checkpoint, LoadStateDictInfo(**report, conversion_errors={}, skipped_pp_keys=set()))
    model.config.name_or_path = str(checkpoint.folder)
    if method or checkpoint.gguf:
        plain(checkpoint, model, method)
    check_finite(checkpoint, model)
    return model.eval()


@functools.cache
def imports_stay() -> None:
    """Garbage is looked for between phases (accelerator.release_memory), but not again in all that was imported.

    That takes 0.2 s each time. Once, before the first model: nothing that is large stands there yet.
    """
    gc.freeze()


def hollow(checkpoint: Checkpoint, config: PreTrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    """The model of a configuration, parameters on the meta device. Raises StudyError where there is none."""
    with refused(checkpoint, "no causal language model of Transformers' own", "give another model"):
        return without_values(config, dtype)


def without_values(config: PreTrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    """The model of a configuration, parameters on the meta device, buffers real."""
    # Without values there is nothing to initialise, which takes four fifths of the time; buffers are in `as_loaded`.
    with init_empty_weights(include_buffers=False), no_init_weights():
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False).eval()
    model.tie_weights()  # emptying the weights untied them
    as_loaded(model, dtype)
    return model


def as_loaded(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """What loading a checkpoint makes of a model besides values: routers kept in float32, buffers computed in it."""
    if plan := model._get_dtype_plan(dtype):
        kept, by_group, _ = build_glob_alternation(list(plan))
        named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        for name, tensor in named.items():
            if match := kept.search(name):
                tensor.data = tensor.data.to(plan[by_group[match.lastgroup]])
    for part in model.modules():
        # GPT-J's sinusoids, computed in bfloat16 as the configuration alone would have it, are off by a hundredth.
        for leaf in part._non_persistent_buffers_set:
            if part._buffers.get(leaf) is not None:
                part._buffers[leaf]._is_hf_initialized = False
                model._init_weights(part)


def check_finite(checkpoint: Checkpoint, model: nn.Module) -> None:
    """Raises StudyError where a parameter or buffer holds what is no number."""
    for name, tensor in model.state_dict().items():
        if not finite(tensor):
            raise StudyError(f"{checkpoint}: {name} holds values that are no numbers (nan or infinite); {AGAIN}")


def quantised(config: PreTrainedConfig) -> str | None:
    """The name of the method that a checkpoint is quantised with."""
    settings = getattr(config, "quantization_config", None)
    settings = settings or getattr(config.get_text_config(), "quantization_config", None)
    if not settings:
        return None
    settings = settings if isinstance(settings, dict) else settings.to_dict()
    bits = [f"_{bits}bit" for bits in (4, 8) if settings.get(f"load_in_{bits}bit")]
    return "bitsandbytes" + bits[0] if bits else str(settings.get("quant_method") or "a method that it does not name")


def dequantising(config: PreTrainedConfig) -> PreTrainedConfig:
    """The same configuration, asking to dequantise where the method can: on a GPU it would else stay as it is."""
    settings = config.quantization_config
    settings = dict(settings if isinstance(settings, dict) else settings.to_dict())
    method = AUTO_QUANTIZATION_CONFIG_MAPPING.get(settings.get("quant_method"))
    if method and "dequantize" in inspect.signature(method).parameters:
        config.quantization_config = settings | {"dequantize": True}
    return config


def fix(method: str | None) -> str:
    if method:
        return "dequantise the model first, save_pretrained it in bfloat16 and give that folder"
    return f"{AGAIN}, or save the model again with save_pretrained"


def plain(checkpoint: Checkpoint, model: PreTrainedModel, method: str | None) -> None:
    """The weights are plain now; save_pretrained and Trainer must not take them for quantised ones.

    Raises StudyError where they are not.
    """
    for name, parameter in model.named_parameters():
        if not parameter.is_floating_point() or parameter.itemsize == 1:
            raise StudyError(f"{checkpoint}: quantised with {method}, {name} stays {parameter.dtype}; {fix(method)}")
    model.hf_quantizer = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config


@contextmanager
def the_folder(checkpoint: Checkpoint) -> Iterator[Path]:
    """The folder that Transformers is given: where an adapter lies beside, one of links that leaves it out."""
    if not checkpoint.adapter:
        yield checkpoint.folder
        return
    with tempfile.TemporaryDirectory() as folder:
        for path in [*checkpoint.files, *checkpoint.folder.glob("*.json")]:
            target = Path(folder) / path.relative_to(checkpoint.folder)
            if not path.name.startswith("adapter_") and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(path.resolve())
        yield Path(folder)


@contextmanager
def refused(checkpoint: Checkpoint, what: str, fix: str) -> Iterator[None]:
    """Whatever Transformers and its helpers make of somebody's files, as one line."""
    try:
        yield
    except StudyError:
        raise
    except Exception as error:  # of every kind: ImportError, KeyError, struct.error, ...
        raise StudyError(f"{place_of_config(checkpoint)}: {what} ({first_line(error)}); {fix}") from None
