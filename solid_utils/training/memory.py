"""What training takes of a device's memory, counted before it begins and printed beside what is there."""

from transformers import PreTrainedModel

from solid_utils.model import accelerator


def needs(model: PreTrainedModel, trainable: set[str], tokens: int, worked: float, parts: int) -> dict[str, int]:
    """Bytes on each device that training takes beside the model as it is: by what takes them.

    `tokens` of one piece pass through the share `worked` of the model; parameters are split into `parts`. Activations
    are 34 bytes a token, layer and unit of width, in 16 bits (Korthikanti et al. 2022, arXiv:2205.05198, 4.1, without
    the attention scores, which fused attention never stores).
    """
    trained = [parameter for name, parameter in model.named_parameters() if name in trainable]
    count, config = sum(parameter.numel() for parameter in trained), model.config.get_text_config()
    grown = sum((4 - parameter.element_size()) * parameter.numel() for parameter in trained)
    return {
        "float32 weights": grown if parts == 1 else 4 * count // parts,  # made before the whole goes
        "gradients": 4 * count // parts,
        "moments": 8 * count // parts,  # AdamW's two, float32 as the gradients
        "activations of one piece": int(34 * config.hidden_size * config.num_hidden_layers * worked * tokens),
    }


def check_fits(needed: dict[str, int]) -> None:
    """Print what training needs. Raises StudyError if that does not fit into memory."""
    print(f"memory: {', '.join(f'{what} {size / 1e9:.1f}' for what, size in needed.items())} GB", flush=True)
    accelerator.check_memory(sum(needed.values()) + 500_000_000, "training")
