"""The offline benchmarks by name: each is a task in solid_utils/tasks over items that solid_utils/data/items.py makes.

A task that has a twin in lm-eval differs from it in the data source, not in what it asks and how it scores.
`include:` of lm-eval's own file would need its path on this machine, and the plain `lm_eval --include_path` command
would not find it; so the keys are repeated in our files and a test keeps them equal.
"""

from pathlib import Path

TASKS = Path(__file__).parent
_BOTH = (
    "hellaswag",
    "c4_cloze",
    "capitals",
    "elements",
    "sums_1digit",
    "sums_2digit",
    "mmlu_letter",
    "truthfulqa_mc1",
)
_FULL = ("sums_3digit", "mmlu_5shot", "mmlu_text", "humaneval_choice", "gsm8k_cot", "humaneval")
SUITES: dict[str, tuple[str, ...]] = {"small": (*_BOTH, "humaneval_short"), "full": (*_BOTH, *_FULL)}
BENCHMARKS = SUITES["small"]
RUNS_CODE = frozenset({"humaneval"})  # scored by running what a model wrote: only with allow_code
