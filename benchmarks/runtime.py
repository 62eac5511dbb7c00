"""Speed of a model behind a socket, as ratios of one run against the plain one.

    make bench B=runtime          some minutes on 2 CPU cores; needs `dvc repro victim@smollm2-135m`

The study's victim in float32, layer 0 secured, the secure world in a process of its own on the same cores. Runs
alternate, so that a slow moment of the machine meets both; a ratio is that of the medians. Lines: decode (one text),
prefill (four texts of 256 tokens), lora (steps of peft's LoRA, the states of the bottom set kept after the first).

secure_16: the secure world alone, one thread, fed with the frames of a decode that was recorded: tokens a second of its
CPU time, 16 streams at once against one, runs alternating. (By the wall clock too, which feeders and other programs
share.) A prompt is the same work for one stream and for many: secure_16_long has answers four times as long. Then whole
clients, 1, 4 and 16 processes, no bar: their open parts share the same cores.
"""

import multiprocessing
import os
import tempfile
import threading
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
from solid_utils.runtime import manifest, process, split
from solid_utils.runtime.client import SemiOpenForCausalLM
from solid_utils.runtime.frames import Kind
from solid_utils.runtime.link import Link
from solid_utils.settings import params
from solid_utils.training import lora

MODEL, DECLARATION, ROUNDS = "smollm2-135m", "layers 0", 4
KEY = bytes(range(32))
NEW_TOKENS, LONG, PROMPT = 32, 128, 64
ROWS, TOKENS = 4, 256  # of a prefill
STEPS, BATCH, LENGTH = 2, 4, 128  # of fine-tuning
STREAMS, CLIENTS = 16, (1, 4, 16)
FORKED = multiprocessing.get_context("fork")


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


class Stream:
    """A recorded decode, asked again in a session of its own."""

    def __init__(self, place: str, binding: bytes, frames: list[tuple[Kind, dict]]):
        self.link, self.frames = Link(place, binding), frames

    def run(self) -> None:
        """Every frame once; the marks of keys and values are those that this session was given."""
        given = {}
        for kind, frame in self.frames:
            request = frame | {"rows": given["rows"]} if "rows" in frame else frame
            given = self.link.ask(kind, request)


def recorded(client, prompt: torch.Tensor, tokens: int) -> list[tuple[Kind, dict]]:
    """The frames of one text with an answer of so many tokens."""
    asked, ask = [], client.secure.ask
    client.secure.ask = lambda kind, tensors: asked.append((kind, tensors)) or ask(kind, tensors)
    client.generate(prompt, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=0)
    del client.secure.ask
    return asked


def cpu_seconds(process: int) -> float:
    """What a process has used until now, all its threads."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def secure_alone(place: str, binding: bytes, frames: list, world: int, line: str) -> None:
    """One stream against sixteen at once. `frames`: of a text, a token of its answer each."""
    streams = [Stream(place, binding, frames) for _ in range(STREAMS)]
    rates = {(count, what): [] for count in (1, STREAMS) for what in ("cpu", "wall")}
    tokens = STREAMS * len(frames)
    for round_ in range(ROUNDS + 1):
        for count in (1, STREAMS):
            used, begun = cpu_seconds(world), time.perf_counter()
            for _ in range(STREAMS // count):  # as many tokens: the system counts in hundredths of a second
                threads = [threading.Thread(target=stream.run) for stream in streams[:count]]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
            if round_:
                rates[count, "cpu"].append(tokens / (cpu_seconds(world) - used))
                rates[count, "wall"].append(tokens / (time.perf_counter() - begun))
    print(f"secure world alone, {len(frames)} recorded frames a stream, one thread:")
    for (count, what), found in rates.items():
        print(f"  {count} streams: {median(found):.0f} tokens a second of {what} time")
    print(f"  wall: {median(rates[STREAMS, 'wall']) / median(rates[1, 'wall']):.2f} times the tokens of one")
    bar(line, median(rates[STREAMS, "cpu"]) / median(rates[1, "cpu"]), 2.0)
    for stream in streams:
        stream.link.close()


def customer(client, prompt: torch.Tensor, ready, pipe) -> None:
    """A client of its own session, in a process of its own; its open part is the parent's, shared until written."""
    client.secure.connection = None  # the parent's
    client.secure.open()
    ready.wait()
    client.generate(prompt, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0)
    pipe.send(held(os.getpid()))
    ready.wait()


def held(process: int) -> float:
    """Megabytes of a process's memory, of shared pages its share."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def end_to_end(client, prompt: torch.Tensor, world: int) -> None:
    """Whole clients at once."""
    torch.set_num_threads(1)  # before a fork, which copies no thread
    print(f"end to end, {os.cpu_count()} cores, {NEW_TOKENS} tokens a client, one thread each:")
    for count in CLIENTS:
        ready, used = FORKED.Barrier(count + 1), cpu_seconds(world)
        pipes = [FORKED.Pipe() for _ in range(count)]
        ours = [FORKED.Process(target=customer, args=(client, prompt, ready, theirs)) for _, theirs in pipes]
        for one in ours:
            one.start()
        ready.wait()
        begun = time.perf_counter()
        memory = sum(mine.recv() for mine, _ in pipes)
        seconds = time.perf_counter() - begun
        ready.wait()
        for one in ours:
            one.join()
        print(
            f"  {count} clients: {count * NEW_TOKENS / seconds:.1f} tokens/s in all, clients hold {memory:.0f} MB "
            f"(shared pages once), the secure world {cpu_seconds(world) - used:.1f} s of CPU"
        )


def main() -> None:
    threads = params.load().threads
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        whole = AutoModelForCausalLM.from_pretrained(models.victim_folder(MODEL), dtype=torch.float32)
        whole.save_pretrained(folder / "model")
        split.split(folder / "model", DECLARATION, folder / "halves", KEY)
        place, binding = str(folder / "secure.sock"), manifest.sha256(folder / "halves/open")
        with process.serving(folder / "halves", place, KEY, threads):
            plain = AutoModelForCausalLM.from_pretrained(folder / "model").eval()
            client = SemiOpenForCausalLM.from_pretrained(folder / "halves/open", socket=place, remember=2**28)
            print(f"{MODEL}, float32, {DECLARATION} secured, {threads} threads", flush=True)
            decode(plain, client)
            client.secure.room, kept = 0, client.secure.room
            prefill(plain, client)
            client.secure.room = kept
            fine_tuning(plain, client)
            print(f"asked: {client.secure.counts()}")
            client.secure.close()
        with process.serving(folder / "halves", place, KEY) as world:
            client = SemiOpenForCausalLM.from_pretrained(folder / "halves/open", socket=place)
            prompt = ids(1, PROMPT, plain.config.vocab_size)
            frames = {
                "secure_16": recorded(client, prompt, NEW_TOKENS),
                "secure_16_long": recorded(client, prompt, LONG),
            }
            client.secure.close()  # a session less: sixteen are allowed
            for line, recording in frames.items():
                secure_alone(place, binding, recording, world, line)
            end_to_end(client, prompt, world)


if __name__ == "__main__":
    main()
