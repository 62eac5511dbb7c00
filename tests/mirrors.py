"""Copies of the hub's data sets with a few hand-made rows in their schema: what is right says so."""

import json
from collections.abc import Iterable
from pathlib import Path

import yaml

from solid_utils.evaluation.published_tasks import HARNESS
from solid_utils.tasks.suites import TASKS

ROWS = 9  # a split: enough for 8 worked examples and one to ask


def subsets(folder: Path, pattern: str) -> list[str]:
    """The data set configurations that task files name."""
    keys = [line for path in folder.glob(pattern) for line in path.read_text().splitlines()]
    return sorted(line.split(":")[1].strip(' "') for line in keys if line.strip('"').startswith("dataset_name"))


def choices(number: int) -> dict:
    """As ARC and OpenBookQA have them; the right one moves."""
    texts = ["wrong", "not so", "neither"]
    texts.insert(number % 4, "right")
    return {"choices": {"text": texts, "label": list("ABCD")}, "answerKey": "ABCD"[number % 4]}


def squad(number: int) -> dict:
    """Every third question has no answer."""
    texts = [] if number % 3 == 2 else ["the right answer", "right answer"]
    answers = {"text": texts, "answer_start": [0] * len(texts)}
    return {"id": str(number), "title": "T", "context": f"C{number}", "question": f"Q{number}?", "answers": answers}


def program(number: int) -> dict:
    tests = [f"assert twice({n}) == {2 * n}" for n in range(3)]
    return {
        "task_id": number,
        "text": f"Double it, {number}.",
        "code": "def twice(n):\n    return 2 * n",
        "test_list": tests,
        "test_setup_code": "",
        "challenge_test_list": [],
    }


def completion(number: int) -> dict:
    check = "def check(f):\n    assert f(2) == 4"
    prompt = f'def twice(n):\n    """Task {number}."""\n'
    body = "    return 2 * n\n"
    return {"task_id": f"T/{number}", "prompt": prompt, "canonical_solution": body, "test": check} | {
        "entry_point": "twice"
    }


MAKERS = {  # hub repository -> configurations (None: it has none), a row
    "baber/piqa": ([None], lambda n: {"goal": f"Goal {n}", "sol1": "wrong", "sol2": "right", "label": 1}),
    "Rowan/hellaswag": (
        [None],
        lambda n: {
            "activity_label": "Baking",
            "ctx_a": f"He bakes {n}.",
            "ctx_b": "he",
            "endings": ["is wrong", "is right", "is late", "is off"],
            "label": "1",
        },
    ),
    "allenai/winogrande": (
        ["winogrande_xl"],
        lambda n: {"sentence": f"Of {n} the _ one was big.", "option1": "wrong", "option2": "right", "answer": "2"},
    ),
    "allenai/ai2_arc": (["ARC-Easy", "ARC-Challenge"], lambda n: {"id": str(n), "question": f"Q{n}?"} | choices(n)),
    "allenai/openbookqa": (["main"], lambda n: {"id": str(n), "question_stem": f"Stem {n} is"} | choices(n)),
    "EleutherAI/lambada_openai": (["default"], lambda n: {"text": f"A story {n} whose last word is right"}),
    "aps/super_glue": (["boolq"], lambda n: {"question": f"is it {n}", "passage": "It is.", "idx": n, "label": 1}),
    "rajpurkar/squad_v2": ([None], squad),
    "google-research-datasets/nq_open": (
        [None],
        lambda n: {"question": f"who is {n}", "answer": ["right", "Mr Right"]},
    ),
    "mandarjoshi/trivia_qa": (
        ["rc.nocontext"],
        lambda n: {"question": f"Who is {n}?", "answer": {"aliases": ["right", "Mr Right"], "value": "right"}},
    ),
    "openai/openai_humaneval": ([None], completion),
    "google-research-datasets/mbpp": (["full"], program),
    "openai/gsm8k": (["main"], lambda n: {"question": f"{n} + {n}?", "answer": f"It is {2 * n}.\n#### 1,000"}),
    "cais/mmlu": (
        subsets(HARNESS, "mmlu/default/mmlu_*.yaml"),
        lambda n: {"question": f"Q{n}?", "subject": "s", "choices": ["a", "b", "c", "d"], "answer": 1},
    ),
    "SaylorTwift/bbh": (subsets(HARNESS, "bbh/fewshot/*.yaml"), lambda n: {"input": f"input {n}", "target": "right"}),
    "nguha/legalbench": (
        subsets(TASKS, "published/legalbench_*.yaml"),
        lambda n: {"index": str(n), "text": f"Text {n}.", "question": f"Is it {n}?", "answer": "Yes"},
    ),
    "takala/financial_phrasebank": (["sentences_50agree"], lambda n: {"sentence": f"Profit rose {n} %.", "label": 2}),
    "HuggingFaceH4/mt_bench_prompts": (
        [None],
        lambda n: {"prompt": [f"Write {n}.", "Shorter."], "category": "writing", "prompt_id": n, "reference": []},
    ),
}
SPLITS = {"cais/mmlu": ("dev", "test"), "SaylorTwift/bbh": ("test",), "nguha/legalbench": ("test",)}


def write(folder: Path, repos: Iterable[str] = MAKERS) -> Path:
    """Those repositories under `folder`, as published.mirror wants them."""
    for repo in repos:
        (configurations, row), tables = MAKERS[repo], {}
        for name in configurations:
            canada = {"answer": "allowed"} if name == "canada_tax_court_outcomes" else {}
            rows = [row(number) | canada for number in range(ROWS)]
            tables[name or "default"] = dict.fromkeys(SPLITS.get(repo, ("train", "validation", "test")), rows)
        lay(folder / repo, tables)
    return folder


def lay(place: Path, tables: dict[str, dict[str, list[dict]]]) -> None:
    """A repository: configuration -> split -> rows."""
    configs = []
    for name, splits in tables.items():
        files = [{"split": split, "path": f"{name}/{split}.jsonl"} for split in splits]
        for file, rows in zip(files, splits.values(), strict=True):
            (place / file["path"]).parent.mkdir(parents=True, exist_ok=True)
            (place / file["path"]).write_text("".join(json.dumps(row) + "\n" for row in rows))
        configs.append({"config_name": name, "data_files": files})
    (place / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': configs})}---\n")


def add_attack_sources(folder: Path, alpaca: list[dict], auxiliary: list[dict]) -> Path:
    """The same beside MMLU's subjects, which `write` laid."""
    row = MAKERS["cais/mmlu"][1]
    rows = [row(number) for number in range(ROWS)]
    tables = {name: dict.fromkeys(SPLITS["cais/mmlu"], rows) for name in MAKERS["cais/mmlu"][0]}
    attack_sources(folder, alpaca, auxiliary)
    lay(folder / "cais/mmlu", tables | {"all": {"test": auxiliary[:1], "auxiliary_train": auxiliary}})
    return folder


def attack_sources(folder: Path, alpaca: list[dict], auxiliary: list[dict]) -> Path:
    """Alpaca and MMLU with its auxiliary training set, as published.mirror wants them."""
    lay(folder / "tatsu-lab/alpaca", {"default": {"train": [row | {"text": "unused"} for row in alpaca]}})
    lay(folder / "cais/mmlu", {"all": {"test": auxiliary[:1], "auxiliary_train": auxiliary}})
    return folder
