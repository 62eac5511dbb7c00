"""The measured attack of `recommend` against a plain loop, and a checkpoint larger than the memory it is attacked in.

    make bench B=prefixes                a model of 0.5B shape; an hour or two on 2 CPU cores, mostly the plain loop
    SHAPE=small make bench B=prefixes    half of its width, a quarter of its vocabulary, the same texts; 20 minutes
    BIG=1 make bench B=prefixes          also a 7B-shaped checkpoint, streamed: writes 13.5 GB, deletes them; hours

All models are random, of random tokens: what is compared is time, memory and equality, not what an attack gets. The
plain loop takes prefix after prefix: the whole model forward over the asked texts, the fit of linear_map.fit, and the
whole model forward over the held-out texts three times (victim, random prefix, map), logits at every position.
"""

import itertools
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from plain import BATCH, bar, in_order
from streamed import LLAMA2_7B, Peak, noted, write
from torch import Tensor
from torch.nn.functional import kl_div
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig, PreTrainedModel, Qwen2Config

from solid_utils.attacks import linear_map
from solid_utils.core import machine
from solid_utils.deployment import starts
from solid_utils.deployment.secured import secured_set
from solid_utils.deployment.view import view
from solid_utils.difficulty.weights import InMemory, Skeleton, Streamed
from solid_utils.model import accelerator, models, ridge_map
from solid_utils.model.forward import pad
from solid_utils.recommend import attack
from solid_utils.recommend.attack_plan import AttackPlanner
from solid_utils.recommend.plan import Planner, duration, measured_rates
from solid_utils.recommend.prefix_attack import Measured
from solid_utils.recommend.texts import Asked


@dataclass(frozen=True)
class Size:
    """A model, and how many texts of how many tokens; of a held-out text all but the first token are scored."""

    config: PreTrainedConfig
    asked: int
    held_out: int
    length: int
    prefixes: tuple[int, ...] = (1, 2, 4, 8)


def qwen(width: int, heads: int, kv_heads: int, vocabulary: int) -> Qwen2Config:
    """Qwen2.5-0.5B is 896 wide with 14 heads, 2 of keys and values, and 151,936 tokens."""
    return Qwen2Config(
        hidden_size=width,
        intermediate_size=width * 4864 // 896,
        num_hidden_layers=24,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        vocab_size=vocabulary,
        tie_word_embeddings=True,
    )


SHAPES = {
    "0.5B": Size(qwen(896, 14, 2, 151_936), asked=100, held_out=8, length=128),
    "small": Size(qwen(448, 7, 1, 37_984), asked=100, held_out=8, length=128),
}
SMALL_STREAMED = LlamaConfig(
    hidden_size=1024, intermediate_size=2752, num_hidden_layers=8, num_attention_heads=8, vocab_size=32000
)
STREAMED = {  # about 1,000 tokens are scored in all of them
    "0.5B": Size(LLAMA2_7B, asked=100, held_out=16, length=64, prefixes=(1, 2, 4)),
    "small": Size(SMALL_STREAMED, asked=100, held_out=16, length=64, prefixes=(1, 2, 4)),
}
MEMORY = 8e9


def texts(size: Size) -> tuple[Asked, list[dict]]:
    """Random tokens: texts to ask, and samples."""
    generator = torch.Generator().manual_seed(0)
    count = size.asked + size.held_out
    rows = torch.randint(1, size.config.vocab_size, (count, size.length), generator=generator).tolist()
    samples = [{"id": str(n), "input_ids": row, "answer_start": 1} for n, row in enumerate(rows)]
    return Asked(samples[: size.asked], rows[: size.asked], "random tokens"), samples[size.asked :]


def planner(model, samples: list[dict], asked: Asked, memory: float, streamed: bool, file: Path) -> AttackPlanner:
    rates = measured_rates(model.dtype, accelerator.device(), file)
    search = Planner(Skeleton(model.config, model.dtype), samples, "xavier", memory, streamed, rates)
    return attack.planner(search, asked)


class PlainPrefix:
    """One prefix by plain Transformers."""

    def __init__(self, model: PreTrainedModel, prefix: int):
        self.model, self.prefix = model, prefix
        self.secured = secured_set(model, f"bottom {prefix}")

    @torch.no_grad()
    def equations(self, samples: list[dict]) -> ridge_map.Equations:
        width = self.model.config.hidden_size
        made = ridge_map.Equations(2 + (attack.PREVIOUS + 1) * width, width, self.model.device, first_apart=True)
        for first in range(0, len(samples), BATCH):
            ids, mask = pad([sample["input_ids"] for sample in samples[first : first + BATCH]], 0)
            said = self.model(ids, attention_mask=mask, output_hidden_states=True, use_cache=False, logits_to_keep=1)
            entering, leaving = said.hidden_states[0], said.hidden_states[self.prefix]
            real, inputs = mask.bool(), ridge_map.features(entering, mask, attack.PREVIOUS)
            scale = ridge_map.row_weights(leaving, mask, first_apart=True)[real]
            made.add(inputs[real].double() * scale, (leaving - entering)[real].double() * scale)
        return made

    def fit(self, samples: list[dict]) -> Tensor:
        """As linear_map.fit, from hidden states of whole forwards."""
        parts = [one for number, one in enumerate(samples) if number % ridge_map.HELD_OUT]
        total, apart = self.equations(parts), self.equations(samples[:: ridge_map.HELD_OUT])
        sizes = ridge_map.sizes(self.model.config.hidden_size, attack.PREVIOUS)
        choices = itertools.product(ridge_map.SCALED_RIDGES, sizes)
        ridge, size = min(choices, key=lambda choice: apart.error(total.solve(*choice, True)))
        total += apart
        return total.solve(ridge, size, True).float()

    def random(self) -> PreTrainedModel:
        """The model with the prefix random."""
        twin = models.clone(self.model)
        starts.apply(twin, starts.draw(twin, self.secured.names, "xavier", attack.SEED))
        return twin

    def mapped(self, asked: list[dict]) -> PreTrainedModel:
        """The model with a map in the prefix's place."""
        twin = models.clone(self.model)
        linear_map.install(twin, view(self.model, self.secured), self.fit(asked))
        return twin

    @torch.inference_mode()
    def compare(self, replica: PreTrainedModel, theirs: list[Tensor], samples: list[dict]) -> tuple[float, float]:
        """Agreement, and KL per token, with the victim's log-probabilities at the answers."""
        hits, apart, tokens = 0, 0.0, 0
        for own, other in zip(answers(replica, samples), theirs, strict=True):
            hits += int((own.argmax(1) == other.argmax(1)).sum())
            apart += kl_div(own, other, reduction="sum", log_target=True).item()
            tokens += len(own)
        return hits / tokens, apart / tokens


@torch.inference_mode()
def answers(model: PreTrainedModel, samples: list[dict]) -> list[Tensor]:
    """Log-probabilities at the answers, by sample."""
    found = []
    for batch in in_order(samples):
        ids, mask = pad([sample["input_ids"] for sample in batch], 0)
        logits = model(ids, attention_mask=mask, use_cache=False).logits
        for row, sample in enumerate(batch):
            found.append(logits[row, sample["answer_start"] - 1 : -1].float().log_softmax(1))
    return found


def plain_loop(model: PreTrainedModel, size: Size, asked: list[dict], samples: list[dict]) -> dict[int, tuple]:
    """By prefix: agreement and KL before any query, and after."""
    found = {}
    for prefix in size.prefixes:
        begun, one = time.perf_counter(), PlainPrefix(model, prefix)
        theirs = answers(model, samples)
        found[prefix] = one.compare(one.random(), theirs, samples)
        found[prefix] += one.compare(one.mapped(asked), theirs, samples)
        print(f"plain loop: bottom {prefix} in {time.perf_counter() - begun:.0f} s", flush=True)
    return found


def pooled(found: Measured, prefix: int) -> tuple:
    """The same numbers of a sweep."""
    kinds = (found.start[prefix], found.attack[prefix])
    return tuple(sum(part) / sum(one.tokens) for one in kinds for part in (one.agreeing, one.kl))


def against_plain(size: Size) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(size.config, dtype=torch.float32).eval()
    asked, samples = texts(size)
    plan = planner(model, samples, asked, 1e12, False, Path(__file__)).plan(list(size.prefixes))
    print(plan, flush=True)
    begun, used = time.perf_counter(), time.process_time()
    ours = attack.run(InMemory(model), "xavier", plan, asked, samples, 0)
    seconds, busy = time.perf_counter() - begun, time.process_time() - used
    print(f"one sweep: {duration(seconds)}, {duration(busy)} of a core", flush=True)
    begun, used = time.perf_counter(), time.process_time()
    theirs = plain_loop(model, size, asked.samples, samples)
    plain_seconds, plain_busy = time.perf_counter() - begun, time.process_time() - used
    print(f"plain loop: {duration(plain_seconds)}, {duration(plain_busy)} of a core")
    off = max(abs(a - b) for one in size.prefixes for a, b in zip(pooled(ours, one), theirs[one], strict=True))
    bar("prefix_attack_equal", off, 1e-3, below=True)
    # Of a core: what other programs take of the machine counts neither way.
    bar("prefix_attack_speed", plain_busy / busy, 3)


def larger_than_memory(size: Size, memory: float | None) -> None:
    """Streamed, in `memory` bytes of its own; None: what the plan says."""
    Path("build").mkdir(exist_ok=True)
    asked, samples = texts(size)
    with tempfile.TemporaryDirectory(dir="build", prefix="checkpoint-") as folder:
        write(size.config, Path(folder))
        written = sorted(Path(folder).glob("*.safetensors"))
        for path in written:
            machine.leave_cache(path)
        dtype = accelerator.fast_dtype()
        skeleton = Skeleton(size.config, dtype)
        rates = measured_rates(dtype, accelerator.device(), written[-1])
        search = Planner(skeleton, samples, "xavier", memory or 1e12, True, rates, torch.bfloat16)
        plan = attack.planner(search, asked).plan(list(size.prefixes))
        print(plan, flush=True)
        source, read, bytes_read = Streamed(Path(folder), dtype, accelerator.device()), Streamed.read, []
        source.read = lambda name: noted(read(source, name), bytes_read)
        accelerator.release_memory()
        begun = time.perf_counter()
        with Peak() as peak:
            found = attack.run(source, "xavier", plan, asked, samples, 0)
        scored = sum(found.attack[size.prefixes[0]].tokens)
        print(f"streamed: {scored:,} tokens scored in {duration(time.perf_counter() - begun)}")
    bar("prefix_attack_streamed_rssanon_gb", peak.anonymous / 1e9, (memory or plan.peak) / 1e9, below=True)
    bar("prefix_attack_streamed_passes", sum(bytes_read) / plan.pass_bytes, len(plan.groups), below=True)


def planned_7b() -> None:
    """The plan of a 7B model in bfloat16, at this machine's rates, and whether it fits 8 GB."""
    size = STREAMED["0.5B"]
    asked, samples = texts(size)
    skeleton = Skeleton(size.config, torch.bfloat16)
    some = max(
        Path(torch.__file__).parent.joinpath("lib").iterdir(), key=lambda path: path.stat().st_size
    )  # to be read
    rates = measured_rates(accelerator.fast_dtype(), accelerator.device(), some)
    print("7B, in bfloat16, within 8 GB:")
    print(attack.planner(Planner(skeleton, samples, "xavier", MEMORY, True, rates), asked).plan(list(size.prefixes)))


def main() -> None:
    shape = os.environ.get("SHAPE", "0.5B")
    planned_7b()
    larger_than_memory(STREAMED["small"], None)
    if os.environ.get("BIG"):
        larger_than_memory(STREAMED["0.5B"], MEMORY)
    against_plain(SHAPES[shape])


if __name__ == "__main__":
    main()
