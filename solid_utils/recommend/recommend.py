"""Which layers of your own model to secure: `solid-recommend --model PATH_OR_ID`.

Plans the SOLID search from the configuration alone, runs it (in memory, or streamed from the checkpoint), and writes a
one-page card: the recommended set, its score with errors, what it costs, and what an attack on it achieved, if one ran.
A killed run goes on where it was.
"""

import argparse
import hashlib
import json
import re
from contextlib import nullcontext, redirect_stdout
from pathlib import Path

import torch
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, PreTrainedConfig, PreTrainedTokenizerBase

from solid_utils.core import files, readers
from solid_utils.core.errors import StudyError, one_line
from solid_utils.deployment.starts import UNAIDED
from solid_utils.difficulty import guard
from solid_utils.difficulty.difficulty import Difficulty, Losses, SearchResult, solid_search
from solid_utils.difficulty.weights import InMemory, Skeleton, Streamed
from solid_utils.model import accelerator, checkpoint, headers, loading, sampling
from solid_utils.model import tokenizer as door
from solid_utils.model.checkpoint import Checkpoint
from solid_utils.model.guard import check_config, taken_apart
from solid_utils.model.state import State
from solid_utils.recommend.card import card, plus_minus
from solid_utils.recommend.plan import Planner, SearchPlan, duration, measured_rates, wave

CARDS = Path("build/cards")
AUTO = "auto: bfloat16, but float32 on a CPU without units for bfloat16"
UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("solid-recommend", description="which layers to secure (SOLID)")
    option = parser.add_argument
    option(
        "--model",
        required=True,
        help="a folder made by save_pretrained, a GGUF file, or the id of a hub model",
    )
    option("--memory", help="for everything in a process, such as 3GB; default: half of this machine's, shared out")
    # Samples, seeds, start and epsilon as in tier small, length as in tier paper (configs/tiers.yaml).
    option("--samples", type=int, default=48)
    option("--length", type=int, default=512, help="tokens a sample, prompt and answer together")
    option("--seeds", default="20,42,1234")
    option("--start", default="xavier", choices=UNAIDED, help="the attacker's initial weights")
    option("--epsilon", type=float, default=0.05)
    option("--dtype", default="auto", choices=["auto", "bfloat16", "float32"], help=AUTO)
    option("--data", type=Path, help='lines of {"prompt": ..., "answer": ...}; default: the evaluation set')
    option(
        "--stream", default="auto", choices=["auto", "always", "never"], help="auto: if weights fill half the memory"
    )
    option("--ignore-adapter", action="store_true", help="of a folder with a model and an adapter: the model alone")
    option("--card", type=Path, help=f"default: a file in {CARDS}")
    args = parser.parse_args(argv)
    if not re.fullmatch(r"\d+(,\d+)*", args.seeds):
        raise StudyError(f"--seeds {args.seeds}: not understood; write numbers such as 20,42,1234")
    if min(args.samples, args.length) < 1 or not 0 <= args.epsilon < 1:
        raise StudyError("--samples, --length, --epsilon: write at least 1, at least 1, and a share from 0 to below 1")
    if args.card:
        files.refuse(args.card)  # now, not after the search
    args.seeds = [int(seed) for seed in args.seeds.split(",")]
    args.memory = byte_count(args.memory) if args.memory else accelerator.memory_share() / 2
    args.dtype = accelerator.fast_dtype() if args.dtype == "auto" else getattr(torch, args.dtype)
    return args


def byte_count(text: str) -> float:
    """ "3GB" in bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)B?", text.strip(), re.IGNORECASE)
    if not match:
        raise StudyError(f"--memory {text}: not understood; write a size such as 3GB or 500MB")
    return float(match[1]) * UNITS[match[2].upper()]


def main(argv: list[str] | None = None) -> None:
    """The whole command. Raises StudyError on anything the user can mend.

    `python -m torch.distributed.run --nproc_per_node 4 -m solid_utils.recommend ...` shares the samples out to 4 GPUs.
    """
    args, alone = arguments(argv), accelerator.processes().is_main_process
    with nullcontext() if alone else redirect_stdout(None):  # the others work, the first one speaks
        recommend(args)


def command() -> None:
    """`solid-recommend`, `python -m solid_utils.recommend` and `python -m solid_utils.difficulty`."""
    with one_line():
        main()


def recommend(args: argparse.Namespace) -> None:
    """Plan, search, card; written by the first process."""
    found = find(args.model, args.ignore_adapter)
    config = loading.read_config(found)
    check_config(config, str(loading.place_of_config(found)))
    skeleton = read_skeleton(found, config, args.dtype)
    tokenizer = door.load(found.folder, skeleton.model, **found.named)
    args.length = within(args.length, tokenizer)
    samples = read_samples(args, tokenizer)
    planner, at_once = make_planner(args, found, skeleton, samples, getattr(config, "dtype", None))
    plan = planner.plan(wave(1, at_once, ["all"]), args.seeds)
    print(f"{plan}\n{later(planner, plan, at_once, args.seeds)}", flush=True)

    source = load(found, args.dtype, plan.streamed)
    guard.check(source, samples, tokenizer.pad_token_id)
    work = State(f"recommend/{slug(args.model)}", settings(args, found, samples), "recommend")
    # The planned room, so that the passes are those that were printed.
    score = Difficulty(source, samples, args.start, tokenizer.pad_token_id, plan.room, work.cached)
    result, losses = search(score, len(source.layers), args, at_once)

    how = (
        f"{args.samples} samples of {args.data or 'the evaluation set'}, at most {args.length} tokens; seeds "
        f"{', '.join(map(str, args.seeds))}; start {args.start}; {str(args.dtype).removeprefix('torch.')}."
    )
    if not accelerator.processes().is_main_process:  # all have the same losses; one card is enough
        return
    sha256 = found.sha256(source.opened if plan.streamed else None)
    text = card(args.model, how, found, sha256, skeleton, plan, result, losses)
    path = args.card or CARDS / f"{slug(args.model)}.md"
    files.write_text(text, path)
    work.discard()
    print(f"\n{text}\ncard: {path}")


def folder(model: str) -> Path:
    """The model's folder, from the hub if there is none here. Raises StudyError without a configuration or weights."""
    path = Path(model)
    if not path.exists() and not path.is_symlink() and re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", model):
        try:
            path = checkpoint.download(model)
        except (OSError, ValueError) as error:
            raise StudyError(
                f"--model {model}: no such folder, and no such model or no access on the Hugging Face hub "
                f"({type(error).__name__}); give a folder made by save_pretrained, or log in with `hf auth login`"
            ) from None
    needed = () if (path / checkpoint.ADAPTER).exists() else ("config.json", "*.safetensors")
    for pattern in needed:
        if not any(path.glob(pattern)):
            raise StudyError(f"--model {model}: no {pattern} there; give a folder made by save_pretrained")
    return path


def find(model: str, ignore_adapter: bool = False) -> Checkpoint:
    """The model's files, those beside them named in a line. Raises StudyError in one line, with the fix."""
    path = Path(model)
    if path.suffix.lower() != ".gguf":
        path = folder(model)
    found = checkpoint.find(path, ignore_adapter)
    if note := found.note():
        print(note, flush=True)
    return found


def within(length: int, tokenizer: PreTrainedTokenizerBase) -> int:
    """The length asked for, or how many tokens the model has positions for; then a line says so."""
    if (most := tokenizer.model_max_length) < length:
        print(f"--length {length}: cut to {most}, the tokens that the model has positions for")
    return min(length, most)


def read_skeleton(found: Checkpoint, config: PreTrainedConfig, dtype: torch.dtype) -> Skeleton:
    """The model without values. Raises StudyError where the checkpoint's tensors are not those of it."""
    place = loading.place_of_config(found)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise StudyError(
            f"{place}: no causal language model of Transformers' own ({config.model_type}); give another model"
        )
    empty = loading.hollow(found, config, dtype)
    if not found.gguf and not loading.quantised(config):  # of those only a whole load can say
        headers.check_names(found, empty, found.opened())
    with taken_apart(f"{place}: {config.model_type}"):
        return Skeleton(config, dtype)


def read_samples(args: argparse.Namespace, tokenizer: PreTrainedTokenizerBase) -> list[dict]:
    """The first samples that fit the length, of the given file or the evaluation set. Raises StudyError if too few."""
    items = read_own(args.data) if args.data else sampling.read_set("evaluation")
    fitting = sampling.encode(items[: 2 * args.samples + 200], tokenizer, args.length)[: args.samples]
    if len(fitting) < args.samples:
        raise StudyError(
            f"{args.data or 'evaluation set'}: {args.samples} samples asked, {len(fitting)} fit {args.length} tokens; "
            f"ask for {len(fitting) or 'fewer'} with --samples, or raise --length"
        )
    return fitting


def read_own(path: Path) -> list[dict]:
    """Prompts and answers of a user's JSON lines. Raises StudyError naming path and line, see readers.read_texts."""
    if not path.is_file():
        raise StudyError(f"--data {path}: no such file; give one with a prompt and an answer a line")
    fix = 'write {"prompt": "...", "answer": "..."} a line, in UTF-8'
    rows = readers.read_texts(path, ("prompt", "answer"), fix)
    return [{"id": f"on line {row.pop('line')}", "source": str(path)} | row for row in rows]


def make_planner(
    args: argparse.Namespace, found: Checkpoint, skeleton: Skeleton, samples: list[dict], stored: torch.dtype | None
) -> tuple[Planner, int]:
    """The planner, and how many prefixes to score at once."""
    streamed = streams(args, sum(parameter.nbytes for parameter in skeleton.parameters.values()))
    largest = max(found.files, key=lambda path: path.stat().st_size)
    # The largest file: read_rate reads up to 256 MB of it.
    rates = measured_rates(args.dtype, accelerator.device(), largest)
    planner = Planner(skeleton, samples, args.start, args.memory, streamed, rates, stored)
    return planner, planner.at_once(args.seeds)


def streams(args: argparse.Namespace, weights: int) -> bool:
    """Read the layers from disk? "auto": when the weights fill more than half of the memory."""
    return args.stream == "always" or (args.stream == "auto" and weights > args.memory / 2)


def later(planner: Planner, plan: SearchPlan, at_once: int, seeds: list[int]) -> str:
    """One line on the waves after the first."""
    depth = planner.sweep.depth
    if at_once >= depth:
        return "  later   nothing: these are all prefixes"
    more = planner.plan(wave(at_once + 1, min(at_once, depth - at_once)), seeds, plan.room)
    return (
        f"  later   until one of {depth} prefixes passes: {at_once} at a time, "
        f"{more.passes} pass{'es' if more.passes > 1 else ''} and about {duration(more.seconds)} each"
    )


def load(found: Checkpoint, dtype: torch.dtype, streamed: bool) -> InMemory:
    if streamed:
        return Streamed(found, dtype, accelerator.device())
    return InMemory(loading.load(found, dtype).to(accelerator.device()))


def settings(args: argparse.Namespace, found: Checkpoint, samples: list[dict]) -> dict:
    """What a killed run's pieces depend on besides the secured sets and seeds, which are in their names."""
    # Not their contents: to hash 14 GB takes half a minute.
    files = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in found.files]
    chosen = hashlib.sha256(json.dumps([[s["input_ids"], s["answer_start"]] for s in samples]).encode()).hexdigest()
    return {"folder": found.folder.resolve(), "files": files, "dtype": args.dtype, "samples": chosen}


def search(score: Difficulty, depth: int, args: argparse.Namespace, at_once: int) -> tuple[SearchResult, Losses]:
    """The SOLID search, with the losses of all sets it scored."""
    seen: Losses = {}

    def ask(declarations: list[str]) -> Losses:
        losses = score.losses(declarations, args.seeds)
        seen.update(losses)
        for name in declarations:
            print(f"{name}: DD {plus_minus(losses[name])} nats", flush=True)
        return losses

    return solid_search(ask, depth, args.epsilon, at_once), seen


def slug(model: str) -> str:
    """A file name of its own for every model."""
    digest = hashlib.sha256(model.encode()).hexdigest()[:6]
    return f"{re.sub(r'[^A-Za-z0-9.]+', '-', model).strip('-.')[-40:]}-{digest}"
