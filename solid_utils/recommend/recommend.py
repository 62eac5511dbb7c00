"""Which layers of your own model to secure: `solid-recommend --model PATH_OR_ID`.

Plans the SOLID search and an attack from the configuration alone, runs them (in memory, or streamed from the
checkpoint), and writes a one-page card: the recommended set, its score with errors, what a linear map from a few texts
gets of it and of the usual prefixes, what it costs, what to do; a chart and JSON beside it. A killed run goes on where
it was. Exit status: outcome.STATUS.
"""

import argparse
import hashlib
import json
import re
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from urllib.parse import quote

import torch
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, PreTrainedConfig, PreTrainedTokenizerBase

from solid_utils.core import files
from solid_utils.core.errors import StudyError, one_line
from solid_utils.difficulty import guard
from solid_utils.difficulty.difficulty import Difficulty, Losses, SearchResult, solid_search
from solid_utils.difficulty.weights import InMemory, Skeleton, Streamed
from solid_utils.model import accelerator, checkpoint, headers, loading
from solid_utils.model import tokenizer as door
from solid_utils.model.checkpoint import Checkpoint
from solid_utils.model.guard import check_config, taken_apart
from solid_utils.model.state import State
from solid_utils.recommend import attack, chart, measured, outcome
from solid_utils.recommend.card import card, plus_minus
from solid_utils.recommend.options import CHART, DATA, arguments, slug
from solid_utils.recommend.outcome import Attack, Outcome, Secured
from solid_utils.recommend.plan import Planner, SearchPlan, duration, measured_rates, wave
from solid_utils.recommend.texts import read_asked, read_samples


def main(argv: list[str] | None = None) -> int:
    """The whole command; its exit status. Raises StudyError on anything the user can mend.

    `python -m torch.distributed.run --nproc_per_node 4 -m solid_utils.recommend ...` shares the samples out to 4 GPUs.
    """
    args, alone = arguments(argv), accelerator.processes().is_main_process
    with nullcontext() if alone else redirect_stdout(None):  # the others work, the first one speaks
        return recommend(args)


def command() -> None:
    """`solid-recommend`, `python -m solid_utils.recommend` and `python -m solid_utils.difficulty`."""
    with one_line():
        if status := main():
            raise SystemExit(status)


def recommend(args: argparse.Namespace) -> int:
    """Plan, search, attack, card; written by the first process. Returns the exit status."""
    found = find(args.model, args.ignore_adapter)
    config = loading.read_config(found)
    check_config(config, str(loading.place_of_config(found)))
    skeleton = read_skeleton(found, config, args.dtype)
    tokenizer = door.load(found.folder, skeleton.model, **found.named)
    args.length = within(args.length, tokenizer)
    samples, others = read_samples(args.data, tokenizer, args.samples, args.length)
    planner, at_once = make_planner(args, found, skeleton, samples, getattr(config, "dtype", None))
    plan = planner.plan(wave(1, at_once, ["all"]), args.seeds)
    print(f"{plan}\n{later(planner, plan, at_once, args.seeds)}", flush=True)
    if args.attack:
        asked = read_asked(args.data, others, tokenizer, args.queries, args.length, attack.SEED)
        attacks = attack.planner(planner, asked)
        print(attack.announced(attacks), flush=True)

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
    plans, attacked = None, None
    if args.attack:
        plans = attacks.plan(attack.prefixes(len(source.layers), result.l_star))
        scores = attack.run(source, args.start, plans, asked, samples, tokenizer.pad_token_id, work.cached)
        sets = [skeleton.secured(f"bottom {prefix}") for prefix in plans.prefixes]
        attacked = measured.attack(scores, sets, asked, args.hold_below, attack.SEED)
    if not accelerator.processes().is_main_process:  # all have the same losses; one card is enough
        return 0
    sha256 = found.sha256(source.opened if plan.streamed else None)
    whole = made_of(args, sha256, skeleton, result, attacked)
    picture = quote(args.card.with_suffix(CHART).name)
    text = card(args.model, how, found, sha256, skeleton, plan, result, losses, whole, picture, plans)
    write(whole, text, args.card)
    work.discard()
    print(f"\n{text}\ncard: {args.card}\n{ending(whole)}")
    return whole.exit_status


def made_of(
    args: argparse.Namespace, sha256: str, skeleton: Skeleton, result: SearchResult, attacked: Attack | None
) -> Outcome:
    """All of a run for programs."""
    chosen = skeleton.secured(f"bottom {result.l_star}")
    layers = len(chosen.layers)
    judged = "not measured"
    if attacked:
        judged = next(one.verdict for one in attacked.prefixes if one.layers == layers)
    return Outcome(
        schema_version=outcome.SCHEMA,
        model=args.model,
        sha256=sha256,
        dtype=str(args.dtype).removeprefix("torch."),
        recommended=Secured(
            secured=chosen.declaration, layers=layers, parameters=chosen.parameters, share=chosen.share
        ),
        dd=result.dd,
        ceiling=result.ceiling,
        epsilon=result.epsilon,
        attack=attacked,
        verdict=judged,
        exit_status=outcome.STATUS[judged] if attacked else 0,
    )


def write(whole: Outcome, text: str, path: Path) -> None:
    """Chart, JSON and card, the card last."""
    if whole.attack:
        chart.write(whole, path.with_suffix(CHART))
    outcome.write(whole, path.with_suffix(DATA))
    files.write_text(text, path)


def ending(whole: Outcome) -> str:
    """What the exit status says, in a line."""
    if whole.attack is None:
        return "not attacked; exit status 0"
    return f"{whole.recommended.secured}: {whole.verdict}; exit status {whole.exit_status}"


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
