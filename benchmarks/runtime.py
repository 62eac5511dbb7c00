"""Speed of a model behind a socket, as ratios of one run against the plain one.

    make bench B=runtime          some minutes on 2 CPU cores; needs `dvc repro victim@smollm2-135m`

The study's victim in float32, layer 0 secured, the secure world in a process of its own on the same cores. Runs
alternate, so that a slow moment of the machine meets both; a ratio is that of the medians. Lines: decode (one text),
prefill (four texts of 256 tokens), lora (steps of peft's LoRA, the states of the bottom set kept after the first).
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import peft
import torch
from plain import bar
from transformers import AutoModelForCausalLM

from solid_utils.deployment.secured import secured_set
from solid_utils.model import models
from solid_utils.runtime import split
from solid_utils.runtime.client import SemiOpenForCausalLM
from solid_utils.settings import params
from solid_utils.training import lora

MODEL, DECLARATION, ROUNDS = "smollm2-135m", "layers 0", 4
KEY = bytes(range(32))
NEW_TOKENS, PROMPT = 32, 64
ROWS, TOKENS = 4, 256  # of a prefill
STEPS, BATCH, LENGTH = 2, 4, 128  # of fine-tuning


def alternating(runs: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Median seconds of each run, after one that is not counted."""
    seconds = {name: [] for name in runs}
    for round_ in range(ROUNDS + 1):
        for name, run in runs.items():
            begun = time.perf_counter()
            run()
            if round_:
                seconds[name].append(time.perf_counter() - begun)
    found = {name: median(times) for name, times in seconds.items()}
    print("  " + ", ".join(f"{name} {value:.3f} s" for name, value in found.items()), flush=True)
    return found


def ids(rows: int, tokens: int, vocabulary: int) -> torch.Tensor:
    return torch.randint(5, vocabulary, (rows, tokens), generator=torch.Generator().manual_seed(1))


def decode(plain, client) -> None:
    """One text, greedy."""
    prompt = ids(1, PROMPT, plain.config.vocab_size)
    options = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS, "do_sample": False, "pad_token_id": 0}
    said = {name: model.generate(prompt, **options) for name, model in (("plain", plain), ("client", client))}
    assert torch.equal(said["plain"], said["client"])
    print(f"decode, {NEW_TOKENS} tokens after {PROMPT}:")
    seconds = alternating(
        {"plain": lambda: plain.generate(prompt, **options), "client": lambda: client.generate(prompt, **options)}
    )
    bar("decode", seconds["plain"] / seconds["client"], 0.90)


@torch.inference_mode()
def prefill(plain, client) -> None:
    """Logits of the last token of whole texts."""
    texts = ids(ROWS, TOKENS, plain.config.vocab_size)
    print(f"prefill, {ROWS} texts of {TOKENS} tokens:")
    inputs = {"input_ids": texts, "logits_to_keep": 1, "use_cache": False}
    seconds = alternating({"plain": lambda: plain(**inputs), "client": lambda: client(**inputs)})
    bar("prefill", seconds["plain"] / seconds["client"], 0.95)


def fine_tuning(plain, client) -> None:
    """Steps of LoRA over the same texts again and again, as later epochs are."""
    texts = ids(BATCH, LENGTH, plain.config.vocab_size)
    names = lora.open_matrices(plain, secured_set(plain, DECLARATION))

    def steps(model) -> Callable[[], None]:
        torch.manual_seed(0)
        adapted = peft.get_peft_model(model, peft.LoraConfig(r=8, target_modules=names, task_type="CAUSAL_LM")).train()
        optimizer = torch.optim.AdamW([one for one in adapted.parameters() if one.requires_grad], 1e-4)

        def run() -> None:
            for _ in range(STEPS):
                adapted(input_ids=texts, labels=texts, use_cache=False).loss.backward()
                optimizer.step()
                optimizer.zero_grad()

        return run

    print(f"LoRA, {STEPS} steps of {BATCH} texts of {LENGTH} tokens:")
    seconds = alternating({"plain": steps(plain), "client": steps(client)})
    bar("lora", seconds["plain"] / seconds["client"], 1.0)


def serving(halves: Path, place: str, threads: int) -> subprocess.Popen:
    """The secure world, serving."""
    command = [sys.executable, "-m", "solid_utils.runtime.serve", halves / "open", halves / "sealed", place]
    world = subprocess.Popen(
        [*command, "--key", "env:SOLID_BENCH_KEY", "--threads", str(threads)],
        env=os.environ | {"SOLID_BENCH_KEY": KEY.hex()},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    if not world.stdout.readline().startswith("serving"):
        raise SystemExit("the secure world does not serve")
    return world


def main() -> None:
    threads = params.load().threads
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        whole = AutoModelForCausalLM.from_pretrained(models.victim_folder(MODEL), dtype=torch.float32)
        whole.save_pretrained(folder / "model")
        split.split(folder / "model", DECLARATION, folder / "halves", KEY)
        world = serving(folder / "halves", str(folder / "secure.sock"), threads)
        try:
            plain = AutoModelForCausalLM.from_pretrained(folder / "model").eval()
            client = SemiOpenForCausalLM.from_pretrained(
                folder / "halves/open", socket=str(folder / "secure.sock"), remember=2**28
            )
            print(f"{MODEL}, float32, {DECLARATION} secured, {threads} threads", flush=True)
            decode(plain, client)
            client.secure.room, kept = 0, client.secure.room
            prefill(plain, client)
            client.secure.room = kept
            fine_tuning(plain, client)
            print(f"asked: {client.secure.counts()}")
        finally:
            world.kill()


if __name__ == "__main__":
    main()
