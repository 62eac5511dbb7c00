"""A checkpoint larger than the memory it is searched in: 7B-shaped, random, written here and deleted after.

Part of benchmarks/difficulty.py when BIG is set. Memory is this process's own (anonymous) memory; the mapped checkpoint
is page cache, which the system takes back when it needs it, and is printed beside.
"""

import tempfile
import threading
import time
from pathlib import Path

import torch
from plain import bar
from safetensors.torch import save_file
from transformers import LlamaConfig

from solid_utils.core import files, machine
from solid_utils.difficulty.difficulty import Difficulty, solid_search
from solid_utils.difficulty.weights import Skeleton, Streamed, without_values
from solid_utils.model import accelerator
from solid_utils.model.structure import layer_parameters
from solid_utils.recommend.plan import Planner, measured_rates, wave

LLAMA2_7B = LlamaConfig(
    hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32, vocab_size=32000
)
MEMORY, SEEDS, SAMPLES, LENGTH = 3e9, [20, 42, 1234], 6, 64


def write(config: LlamaConfig, folder: Path) -> None:
    """A random bfloat16 checkpoint, one file a layer, so that little memory is needed."""
    model = without_values(config, torch.bfloat16)
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    machine.check_disk(sum(2 * shape.numel() for shape in shapes.values()), folder, "the checkpoint")
    layers = layer_parameters(model)
    outside = [name for name in shapes if not any(name in layer for layer in layers)]
    torch.manual_seed(0)
    weight_map = {}
    for number, names in enumerate([outside, *layers]):
        file = f"model-{number:05}.safetensors"
        save_file({name: values(shapes[name]) for name in names}, folder / file)
        weight_map |= dict.fromkeys(names, file)
    files.write_json({"metadata": {}, "weight_map": weight_map}, folder / "model.safetensors.index.json")
    config.save_pretrained(folder)


def values(shape: torch.Size) -> torch.Tensor:
    tensor = torch.ones(shape, dtype=torch.bfloat16)
    return tensor.normal_(0, 0.02) if len(shape) > 1 else tensor


class Peak(threading.Thread):
    """Largest anonymous and file memory of this process while it runs."""

    def __init__(self):
        super().__init__(daemon=True)
        self.over, self.anonymous, self.file = threading.Event(), 0, 0

    def run(self) -> None:
        while not self.over.wait(0.02):
            anonymous, file = machine.anonymous_memory()
            self.anonymous, self.file = max(self.anonymous, anonymous), max(self.file, file)

    def __enter__(self) -> "Peak":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.over.set()
        self.join()


def main(config: LlamaConfig = LLAMA2_7B, memory: float = MEMORY) -> None:
    Path("build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir="build", prefix="checkpoint-") as folder:
        begun = time.perf_counter()
        write(config, Path(folder))
        written = sorted(Path(folder).glob("*.safetensors"))
        for path in written:
            machine.leave_cache(path)
        size = sum(path.stat().st_size for path in written)
        print(f"streamed: wrote {size / 1e9:.1f} GB in {time.perf_counter() - begun:.0f} s", flush=True)
        accelerator.release_memory()
        with Peak() as peak:
            passes = searched(config, Path(folder), memory)
    print(f"page cache of the mapped checkpoint, not counted: {peak.file / 1e9:.1f} GB at most")
    bar("difficulty_streamed_rssanon_gb", peak.anonymous / 1e9, memory / 1e9, below=True)
    bar("difficulty_streamed_passes", passes, 1, below=True)


def searched(config: LlamaConfig, folder: Path, memory: float) -> float:
    """Plan and search. Returns how often the first sets of candidates read the layers, counted in bytes."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(config.vocab_size, (SAMPLES, LENGTH), generator=generator).tolist()
    samples = [{"input_ids": row, "answer_start": LENGTH // 2} for row in tokens]
    skeleton = Skeleton(config, torch.bfloat16)
    rates = measured_rates(torch.bfloat16, accelerator.device(), sorted(folder.glob("*.safetensors"))[-1])
    planner = Planner(skeleton, samples, "xavier", memory, True, rates)
    at_once = planner.at_once(SEEDS)
    plan = planner.plan(wave(1, at_once, ["all"]), SEEDS)
    print(plan, flush=True)

    source, read, bytes_read = Streamed(folder, torch.bfloat16, accelerator.device()), Streamed.read, []
    source.read = lambda name: noted(read(source, name), bytes_read)
    score, waves = Difficulty(source, samples, "xavier", 0, memory=plan.room), []

    def ask(names: list[str]) -> dict:
        begun = time.perf_counter()
        losses = score.losses(names, SEEDS)
        waves.append(sum(bytes_read))
        print(f"streamed: {', '.join(names)} in {time.perf_counter() - begun:.0f} s", flush=True)
        return losses

    found = solid_search(ask, len(source.layers), 0.05, at_once)
    print(f"streamed: l* = {found.l_star} of a random model, {len(waves)} sets of candidates")
    return waves[0] / plan.pass_bytes


def noted(tensor: torch.Tensor, bytes_read: list[int]) -> torch.Tensor:
    bytes_read.append(tensor.nbytes)
    return tensor
