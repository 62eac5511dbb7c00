"""Options of the command `solid-recommend`, checked before anything is done."""

import argparse
import hashlib
import re
from pathlib import Path

import torch

from solid_utils.core import files
from solid_utils.core.errors import StudyError
from solid_utils.deployment.starts import UNAIDED
from solid_utils.model import accelerator
from solid_utils.recommend.measured import HOLD_BELOW
from solid_utils.recommend.texts import LEAST

DATA, CHART = ".json", ".png"  # what is written beside the card, under its name
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
    option("--no-attack", dest="attack", action="store_false", help="search only; exit status 0")
    option("--queries", type=int, default=100, help="texts that the attack asks")
    option(
        "--hold-below",
        type=float,
        default=HOLD_BELOW,
        help="a set holds where the 95 %% interval of what the attack recovers above public text ends below this share",
    )
    option("--ignore-adapter", action="store_true", help="of a folder with a model and an adapter: the model alone")
    option("--card", type=Path, help=f"default: a file in {CARDS}")
    args = parser.parse_args(argv)
    if not re.fullmatch(r"\d+(,\d+)*", args.seeds):
        raise StudyError(f"--seeds {args.seeds}: not understood; write numbers such as 20,42,1234")
    if min(args.samples, args.length) < 1 or not 0 <= args.epsilon < 1:
        raise StudyError("--samples, --length, --epsilon: write at least 1, at least 1, and a share from 0 to below 1")
    if not 0 < args.hold_below <= 1 or (args.attack and args.queries < LEAST):
        raise StudyError(f"--hold-below, --queries: write a share above 0, at most 1, and at least {LEAST} texts")
    args.card = args.card or CARDS / f"{slug(args.model)}.md"
    files.refuse(args.card)  # now, not after the search
    if args.card.suffix in (DATA, CHART):
        raise StudyError(f"--card {args.card}: {DATA} and {CHART} files are written beside the card; name a .md file")
    for suffix in (DATA, CHART):
        files.refuse(args.card.with_suffix(suffix))
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


def slug(model: str) -> str:
    """A file name of its own for every model."""
    digest = hashlib.sha256(model.encode()).hexdigest()[:6]
    return f"{re.sub(r'[^A-Za-z0-9.]+', '-', model).strip('-.')[-40:]}-{digest}"
