"""GSM8K's hundred packaged problems before and after: shown, without a verdict, as so few could decide nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from solid_utils.core import paths, readers
from solid_utils.core.numbers import standard_error
from solid_utils.customization import likelihood
from solid_utils.model import models, sampling

if TYPE_CHECKING:
    from solid_utils.customization.customization import CustomizationRun

FILE = "gsm8k_cot.jsonl"  # of the benchmarks' items: question, worked answer with the number after four hashes
DOMAINS = ("math", "reasoning")  # arithmetic, asked for its number alone
BEGIN, END = "### Instruction:\n", "\n\n### Response:\n"
ASK = " Give the result as your final answer. Do not include units."  # as word problems of the domain `math` end


def shown(run: CustomizationRun) -> list[dict]:
    """A row for the untouched model and one for the customized; none for a domain that is no arithmetic made here, or
    where no problem fits the run's length.

    `model`, `problems` (that fit the run's length), `right` (share whose number is the likeliest, token for token),
    `nats` (cross-entropy a token of the number, mean over problems) and `stderr` of that. Kept in the run's state.
    """
    domain = run.customization.domain
    if domain not in DOMAINS or domain in run.study.data.customization.hub:  # the hub's answers are worked solutions
        return []
    return run.state.cached("gsm8k", lambda: _rows(run))


def _rows(run: CustomizationRun) -> list[dict]:
    samples = sampling.encode(problems(run), run.tokenizer, run.budget.length)
    customized = run.victim if run.closed else run.customized()
    rows: list[dict] = []
    if not samples:
        return rows
    for name, model in (("before", run.victim), ("after", customized)):
        with models.precision(run.spec):
            found = likelihood.answers(model.eval(), samples, run.tokenizer.pad_token_id)
        row = {"model": name, "problems": len(samples), "right": float(np.mean(found.exact))}
        rows.append(row | {"nats": float(np.mean(found.nats)), "stderr": standard_error(found.nats)})
    return rows


def problems(run: CustomizationRun) -> list[dict]:
    """The hundred as items, in the prompt of the domain's own problems, worded as the word problems of `math`."""
    own = sampling.read_set(f"{run.customization.domain}_test", run.items_in)[0]["prompt"]
    head = own.partition(BEGIN)[0] + BEGIN
    rows = readers.read_lines(paths.BENCHMARK_ITEMS / FILE, "run `dvc repro sets`")
    return [
        {
            "id": f"gsm8k-{number:03d}",
            "source": "gsm8k",
            "prompt": head + row["question"] + ASK + END,
            "answer": row["answer"].partition("#### ")[2].replace(",", ""),
        }
        for number, row in enumerate(rows)
    ]
