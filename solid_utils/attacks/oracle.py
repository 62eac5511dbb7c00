"""What the attacker sees of a deployed victim, counted; nothing else of the victim reaches an attack (paper 3.1).

python -m solid_utils.attacks.oracle MODEL     asks the victim for its answers to the attack and validation prompts
"""

import hashlib
import sys
from pathlib import Path

import torch
from tqdm import tqdm
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedModel

from solid_utils import data, errors, models, params
from solid_utils.errors import StudyError
from solid_utils.forward import BATCH_COST, length_batches
from solid_utils.generation import generate
from solid_utils.layers import DecoderLayers
from solid_utils.secured import LAPLACE_SCALE, SecuredSet

LABELS = Path("build/labels")


def noise_scale(deployment: str) -> float:
    """Scale of the Laplace noise that a deployment adds to its logits."""
    return LAPLACE_SCALE if deployment == "sap_dp" else 0.0


class LaplaceNoise(LogitsProcessor):
    """Adds Laplace(0, scale) to every logit of every step; the stream is fixed by the prompt (paper B.3, SAP-DP)."""

    def __init__(self, prompts: list[list[int]], scale: float):
        self.scale = scale
        digests = [hashlib.sha256(str(prompt).encode()).digest() for prompt in prompts]
        self.streams = [torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1) for digest in digests]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """scores: (batch, vocab)."""
        width = scores.shape[-1]
        exponentials = [torch.empty(2, width).exponential_(generator=stream) for stream in self.streams]
        noise = torch.stack([pair[0] - pair[1] for pair in exponentials])  # the difference is Laplace(0, 1)
        return scores + self.scale * noise.to(scores)


class Oracle:
    """A deployed victim behind its interface. `sequences` and `tokens` count what was asked."""

    def __init__(self, victim: PreTrainedModel, secured: SecuredSet, pad_id: int):
        self._victim, self._layers = victim, DecoderLayers(victim)
        self.secured, self.pad_id = secured, pad_id
        self.sequences = self.tokens = 0

    @torch.inference_mode()
    def answers(self, prompts: list[list[int]], new_tokens: int, batch: int) -> list[list[int]]:
        """Greedy answers as token ids, the end-of-sequence token included; noisy under sap_dp."""
        scale, answers = noise_scale(self.secured.declaration), [[]] * len(prompts)
        lengths = list(map(len, prompts))
        groups = length_batches(lengths, batch * max(lengths), fixed=BATCH_COST * new_tokens)  # a forward a new token
        for group in tqdm(groups, desc="victim answers", mininterval=5):
            chosen = [prompts[index] for index in group]
            noise = [LaplaceNoise(chosen, scale)] if scale else []
            generated = generate(self._victim, chosen, new_tokens, self.pad_id, LogitsProcessorList(noise))
            for index, answer in zip(group, generated, strict=True):
                answers[index] = answer
            self._count(len(group), sum(len(prompt) for prompt in chosen))
        return answers

    @torch.no_grad()
    def boundary(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """The states that leave the secured layers, (batch, tokens, width). StudyError where none are visible."""
        layers = self.secured.layers
        if not self.secured.only_layers or layers != tuple(range(layers[0], layers[-1] + 1)):
            raise StudyError(
                f"attack sem: the states that leave '{self.secured.declaration}' are not visible; "
                "secure consecutive decoder layers only"
            )
        self._count(len(input_ids), int(attention_mask.sum()))
        return self._layers.boundary(input_ids, attention_mask, layers[-1])

    def _count(self, sequences: int, tokens: int) -> None:
        self.sequences += sequences
        self.tokens += tokens


def relabelled(samples: list[dict], answers: dict[str, list[int]], length: int) -> list[dict]:
    """The samples with the victim's answers in place of the data set's. Raises StudyError for an unlabelled sample."""
    if missing := [sample["id"] for sample in samples if sample["id"] not in answers]:
        raise StudyError(
            f"labels: no victim answer for {missing[0]}; run `dvc repro` so that the labels stage runs first"
        )
    return [
        sample | {"input_ids": (sample["input_ids"][: sample["answer_start"]] + answers[sample["id"]])[:length]}
        for sample in samples
    ]


def read_labels(model: str, noisy: bool) -> dict[str, list[int]]:
    """Victim answers by sample id. Raises StudyError when the labels stage has not run."""
    items = data.read_set("noisy" if noisy else "clean", LABELS / model)
    return {item["id"]: item["answer_ids"] for item in items}


def label(model_name: str) -> None:
    """Ask the victim, clean and with SAP-DP's noise, for answers to all prompts that attacks train and validate on."""
    study = params.load()
    torch.set_num_threads(study.threads)
    spec, budget = study.model(model_name), study.budgets(model_name)
    victim, tokenizer, _ = models.load_victim(model_name, spec)
    chosen = data.samples("attack", tokenizer, budget.length, budget.attack.ft.queries)
    chosen += data.samples("validation", tokenizer, budget.length, budget.attack.validation)
    prompts = [sample["input_ids"][: sample["answer_start"]] for sample in chosen]
    for name, deployment in (("clean", "none"), ("noisy", "sap_dp")):
        oracle = Oracle(victim, SecuredSet(deployment, (), (), False, 0, 1), tokenizer.pad_token_id)
        with models.precision(spec):
            answers = oracle.answers(prompts, budget.labels.new_tokens, budget.labels.batch)
        rows = [
            {"id": sample["id"], "answer_ids": answer, "answer": tokenizer.decode(answer, skip_special_tokens=True)}
            for sample, answer in zip(chosen, answers, strict=True)
        ]
        data.write_lines(rows, LABELS / model_name / f"{name}.jsonl")


if __name__ == "__main__":
    with errors.one_line():
        label(sys.argv[1])
