"""QLoRA: LoRA on a base of 4 bits (Dettmers et al. 2023, arXiv:2305.14314), by bitsandbytes: the paper's 70B method.

Table 9: rank 96, alpha 16, dropout 0.05, one epoch at rate 1.5e-4 (the text of B.6 reads 1.5 x 10~5, its exponent
poorly printed; the table's stands in configs/models.yaml).
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn

from solid_utils.core.errors import StudyError
from solid_utils.customization.methods.lora import Lora
from solid_utils.customization.methods.method import optional
from solid_utils.deployment.secured import SecuredSet
from solid_utils.model import models
from solid_utils.training import lora

if TYPE_CHECKING:
    from solid_utils.customization.customization import CustomizationRun


class Qlora(Lora):
    """Open linear matrices in NF4, twice quantised, adapters beside them; the secured part stays as the vendor has it.

    The customized model is the rounded base with its adapters: what rounding lost stays lost, as where it is served.
    """

    method: Literal["qlora"]

    @model_validator(mode="after")
    def stacks_stay_as_they_are(self) -> Qlora:
        # An adapter on a stack has no `weight` to lay its values over, so a whole training ended in an AttributeError.
        if self.experts:
            raise ValueError("experts: method: qlora rounds linear modules, no stacks of experts; set method: lora")
        return self

    def check_installed(self) -> None:
        bitsandbytes()

    def adapted(self, model: nn.Module, secured: SecuredSet) -> tuple[nn.Module, set[str]]:
        quantise(model, lora.open_matrices(model, secured))
        return super().adapted(model, secured)

    def shell(self, model: nn.Module, secured: SecuredSet) -> tuple[nn.Module, set[str]]:
        return super().adapted(model, secured)  # rounding needs values

    def merged(self, model: nn.Module, run: CustomizationRun) -> nn.Module:
        # peft's own merge would round base and adapter together to 4 bits once more.
        return unrounded(model, models.clone(run.victim))


def bitsandbytes() -> ModuleType:
    return optional("bitsandbytes", "qlora")


def quantise(model: nn.Module, names: list[str]) -> None:
    """Round the named linear modules to NF4, in place. Raises StudyError for a module of another kind (GPT-2's)."""
    bnb = bitsandbytes()
    for name in names:
        plain = model.get_submodule(name)
        if not isinstance(plain, nn.Linear):
            raise StudyError(f"method: qlora: {name} is a {type(plain).__name__}, no nn.Linear; set method: lora")
        device, options = plain.weight.device, {"quant_type": "nf4", "compress_statistics": True}
        rounded = bnb.nn.Linear4bit(
            plain.in_features, plain.out_features, plain.bias is not None, compute_dtype=plain.weight.dtype, **options
        )
        rounded.weight = bnb.nn.Params4bit(plain.weight.data, requires_grad=False, **options)
        rounded.bias = plain.bias
        # Where a CPU has bfloat16 units, bitsandbytes would repack the weights at the first pass without gradients,
        # their scales in bfloat16: no longer the values that adapters are trained beside, and an AssertionError
        # unless 32 divides the outputs.
        rounded.support_avx512bf16_for_cpu = False
        model.set_submodule(name, rounded.to(device))  # rounded as it moves there
    model.is_loaded_in_4bit = True  # by this peft knows such a model


@torch.no_grad()
def unrounded(model: nn.Module, plain: nn.Module) -> nn.Module:
    """`plain` with the values that a quantised model with adapters works with, in place."""
    for name, module in model.get_base_model().named_modules():
        if hasattr(module, "get_delta_weight"):
            weight = values(module.get_base_layer())
            for adapter in module.active_adapters:
                weight = weight + module.get_delta_weight(adapter).to(weight)
            plain.get_submodule(name).weight.copy_(weight)
        elif hasattr(module, "quant_state") and not name.endswith(".base_layer"):  # rounded, and without an adapter
            plain.get_submodule(name).weight.copy_(values(module))
    return plain


def values(rounded: nn.Module) -> Tensor:
    """What a module of 4 bits multiplies with, (outputs, inputs) float32."""
    state = rounded.weight.quant_state
    return bitsandbytes().functional.dequantize_4bit(rounded.weight.data, state).float()
