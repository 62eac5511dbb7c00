"""What the attacker sees of a deployed victim, counted; nothing else of the victim reaches an attack (paper 3.1).

python -m solid_utils.deployment.oracle MODEL     asks the victim for its answers to the attack and validation prompts
"""

import hashlib
import sys
from collections import Counter
from functools import cached_property

import torch
from tqdm import tqdm
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedModel

from solid_utils.core import errors, files, paths
from solid_utils.core.errors import StudyError
from solid_utils.deployment.secured import SecuredSet
from solid_utils.deployment.view import View, view
from solid_utils.model import models, sampling
from solid_utils.model.forward import BATCH_COST, answer_logits, length_batches
from solid_utils.model.generation import alike, generate
from solid_utils.model.layers import DecoderLayers
from solid_utils.model.operands import around
from solid_utils.settings import params


class LaplaceNoise(LogitsProcessor):
    """Adds Laplace(0, scale) to every logit of every step; the stream is fixed by the prompt (paper B.3, SAP-DP).

    `askings`: how often each prompt was asked before, where that draws fresh noise.
    """

    def __init__(self, prompts: list[list[int]], scale: float, askings: list[int] | None = None):
        self.scale = scale
        # sha256, not hash(), which Python salts anew in every process. The key holds how often a prompt was asked, so
        # that fresh noise is the same in every run too.
        keys = [f"{prompt}{times or ''}" for prompt, times in zip(prompts, askings or [0] * len(prompts), strict=True)]
        digests = [hashlib.sha256(key.encode()).digest() for key in keys]
        self.streams = [torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1) for digest in digests]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """scores: (batch, vocab)."""
        return scores + torch.stack(self.draw([scores.shape[1:]] * len(scores))).to(scores)

    def draw(self, shapes: list[tuple[int, ...]]) -> list[torch.Tensor]:
        """Noise of one shape for each prompt."""
        pairs = zip(shapes, self.streams, strict=True)
        exponentials = [torch.empty(2, *shape).exponential_(generator=stream) for shape, stream in pairs]
        return [self.scale * (first - second) for first, second in exponentials]  # a difference is Laplace(0, scale)


class Oracle:
    """A deployed victim behind its interface. `sequences` and `tokens` count what was asked.

    `noise`: "fixed" by the query, so that asking again teaches nothing, or "fresh" whenever it is asked.
    What enters the secured part is no question to the oracle: the attacker computes it from the open part.
    """

    def __init__(self, victim: PreTrainedModel, secured: SecuredSet, pad_id: int, noise: str = "fixed"):
        self._victim = victim
        self._layers = DecoderLayers(victim)
        self._asked = Counter()
        self.secured = secured
        self.pad_id = pad_id
        self.noise = noise
        self.sequences = self.tokens = 0

    @cached_property
    def view(self) -> View:
        """What this deployment shows."""
        return view(self._victim, self.secured)

    @torch.inference_mode()
    def answers(self, prompts: list[list[int]], new_tokens: int, batch: int) -> list[list[int]]:
        """Greedy answers as token ids, the end-of-sequence token included; noisy under sap_dp."""
        lengths, answers = list(map(len, prompts)), [[]] * len(prompts)
        groups = length_batches(lengths, batch * max(lengths), fixed=BATCH_COST * new_tokens)  # a forward a new token
        for group in tqdm(alike(self._victim, prompts, groups), desc="victim answers", mininterval=5):
            chosen = [prompts[index] for index in group]
            noise = LogitsProcessorList(self._noise(chosen))
            generated = generate(self._victim, chosen, new_tokens, self.pad_id, noise)
            for index, answer in zip(group, generated, strict=True):
                answers[index] = answer
            self._count(chosen)
        return answers

    @torch.no_grad()
    def boundary(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """The states that leave the secured layers, (batch, tokens, width). StudyError where none are visible."""
        seen = self.view
        if not seen.consecutive or seen.outputs_only or seen.last < 0:
            raise StudyError(
                f"attack sem: the states that leave '{self.secured.declaration}' are not visible; "
                "secure consecutive decoder layers only"
            )
        self._count(rows(input_ids, attention_mask))
        return self._layers.boundary(input_ids, seen.last)

    def operands(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Input and output of the single secret matrix at real positions, (tokens, inputs) and (tokens, outputs).

        Raises StudyError where more than one matrix is secret, or none.
        """
        if self.view.matrix is None:
            raise StudyError(
                f"attack least_squares: '{self.secured.declaration}' is not one matrix; secure one, such as layer 0 k, "
                "or use attack: stitch"
            )
        self._count(rows(input_ids, attention_mask))
        return around(self._victim, self.view.matrix.path, input_ids, attention_mask)

    @torch.no_grad()
    def outputs(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, keep: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Float32 logits of all real positions, (tokens, vocabulary), row after row; noisy under sap_dp.

        `keep`, a bool mask (batch, tokens), names fewer positions. Where all that follows the secured part is open,
        the attacker computes them from the boundary states.
        """
        prompts, real = rows(input_ids, attention_mask), attention_mask.bool()
        keep = real if keep is None else keep
        logits = answer_logits(self._victim, input_ids, attention_mask, keep).float()
        for noise in self._noise(prompts):
            # For all positions, so that a position's noise does not depend on which others are asked for.
            drawn = noise.draw([(len(prompt), logits.shape[1]) for prompt in prompts])
            logits += torch.cat(drawn)[keep[real].cpu()].to(logits)
        self._count(prompts)
        return logits

    @property
    def device(self) -> torch.device:
        """Where token ids go."""
        return self._layers.device

    @property
    def vocabulary(self) -> int:
        """Logits of one position."""
        return self._victim.config.get_text_config().vocab_size

    @property
    def width(self) -> int:
        """Scalars that leave the secured part for each token."""
        return self.vocabulary if self.view.outputs_only else self._victim.config.get_text_config().hidden_size

    def leaving(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """What leaves the secured part at real positions, (tokens, width): boundary states, else the outputs."""
        if self.view.outputs_only:
            return self.outputs(input_ids, attention_mask)
        return self.boundary(input_ids, attention_mask)[attention_mask.bool()]

    def _noise(self, prompts: list[list[int]]) -> list[LaplaceNoise]:
        """The noise of this asking, or none."""
        if not (scale := self.secured.noise):
            return []
        askings = [self._asked[tuple(prompt)] for prompt in prompts]
        if self.noise == "fresh":
            self._asked.update(map(tuple, prompts))
        return [LaplaceNoise(prompts, scale, askings)]

    def _count(self, prompts: list[list[int]]) -> None:
        self.sequences += len(prompts)
        self.tokens += sum(map(len, prompts))


def rows(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> list[list[int]]:
    """Token lists of right-padded rows."""
    return [row[:length] for row, length in zip(input_ids.tolist(), attention_mask.sum(1).tolist(), strict=True)]


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
    items = sampling.read_set("noisy" if noisy else "clean", paths.LABELS / model)
    return {item["id"]: item["answer_ids"] for item in items}


LABELS = (("clean", "none"), ("noisy", "sap_dp"))  # file, and the deployment that answers


def labelled(model_name: str) -> bool:
    """Are a victim's answers there?"""
    return all((paths.LABELS / model_name / f"{name}.jsonl").exists() for name, _ in LABELS)


def label(model_name: str, study: params.Params) -> None:
    """Ask the victim, clean and with SAP-DP's noise, for answers to all prompts that attacks train and validate on."""
    torch.set_num_threads(study.threads)
    spec, budget = study.model(model_name), study.budgets(model_name)
    victim, tokenizer, _ = models.load_victim(model_name, spec)
    chosen = sampling.samples("attack", tokenizer, budget.length, budget.attack.ft.queries)
    chosen += sampling.samples("validation", tokenizer, budget.length, budget.attack.validation)
    prompts = [sample["input_ids"][: sample["answer_start"]] for sample in chosen]
    for name, deployment in LABELS:
        # Of the deployment only its noise shows in an answer, so a set without names will do.
        oracle = Oracle(victim, SecuredSet(deployment, (), (), False, 0, 1), tokenizer.pad_token_id)
        with models.precision(spec):
            answers = oracle.answers(prompts, budget.labels.new_tokens, budget.labels.batch)
        rows = [
            {"id": sample["id"], "answer_ids": answer, "answer": tokenizer.decode(answer, skip_special_tokens=True)}
            for sample, answer in zip(chosen, answers, strict=True)
        ]
        files.write_lines(rows, paths.LABELS / model_name / f"{name}.jsonl")


if __name__ == "__main__":
    with errors.one_line():
        label(sys.argv[1], params.load())
