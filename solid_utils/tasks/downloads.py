"""The hub's data sets, as the study reads them: configurations, splits, columns, and what a row asks.

One table for what is drawn from them (data.hub_sets), what is asked and so kept out of every other set (data.asked) and
what a copy of them must hold (data.mirror). lm-eval is not loaded: a test holds the table equal to its task files.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from solid_utils.tasks.suites import TASKS

Check = Callable[[object], str]  # a value of a column -> what is wrong with it, or nothing
Asked = tuple[str, list[str]]  # a question, and its choices where it has some
NO_NAME = "default"  # what `datasets` calls the configuration of a data set that names none


def text(value: object) -> str:
    return "" if isinstance(value, str) and value.strip() else f"is no text ({shown(value)})"


def any_text(value: object) -> str:
    """A text, or an empty one."""
    return "" if isinstance(value, str) else f"is no text ({shown(value)})"


def texts(value: object) -> str:
    """At least one text."""
    whole = isinstance(value, list) and value and all(isinstance(one, str) for one in value)
    return "" if whole else f"is no list of texts ({shown(value)})"


def so_many(count: int) -> Check:
    """A list of so many texts, such as the choices of a question."""

    def check(value: object) -> str:
        wrong = texts(value)
        return wrong or ("" if len(value) == count else f"has {len(value)} entries, {count} are needed")

    return check


def one_of(*values: object) -> Check:
    def check(value: object) -> str:
        found = value.strip() if isinstance(value, str) else value
        # 1.0 and True equal 1, and are no label.
        known = any(found == one and type(found) is type(one) for one in values)
        return "" if known else f"is {shown(value)}, not one of {', '.join(map(repr, values))}"

    return check


def choices(value: object) -> str:
    """ARC's and OpenBookQA's: {"text": [...], "label": [...]}, three to five of them."""
    both = isinstance(value, dict) and [value.get("text"), value.get("label")]
    if not both or any(texts(one) for one in both) or len(both[0]) != len(both[1]):
        return f"is no {{text, label}} of as many ({shown(value)})"
    return "" if len(both[0]) > 2 else f"has {len(both[0])} entries, 3 to 5 are needed"


def squads(value: object) -> str:
    """{"text": [...]}, empty where a question has no answer."""
    found = value.get("text") if isinstance(value, dict) else None
    return "" if found == [] or not texts(found) else f"has no list of texts in 'text' ({shown(value)})"


def trivia(value: object) -> str:
    found = value.get("aliases") if isinstance(value, dict) else None
    return texts(found) and f"has no list of texts in 'aliases' ({shown(value)})"


def solved(value: object) -> str:
    """GSM8K's answer, whose number stands after four hashes."""
    return text(value) or ("" if "####" in value else "has no '####' before its number")


def shown(value: object) -> str:
    found = repr(value)
    return found if len(found) <= 40 else f"{found[:40]}..."


def answerable(row: dict) -> str:
    """ARC and OpenBookQA: is the right answer among the choices?"""
    labels = row["choices"]["label"]
    return "" if row["answerKey"].strip() in labels else f"answerKey: is {row['answerKey']!r}, not one of {labels}"


@dataclass(frozen=True)
class DataSet:
    """A data set of the hub, as one part of the study reads it.

    parts: what needs it ("security": Table 7, "code": where programs are run, a domain of Table 6, "mt_bench",
    "attack": data.source hub). asked: the split whose rows are asked, or drawn from; examples: that of the worked
    examples (lm-eval opens it even where none is shown). columns: each with a check of its values; `whole` checks a
    row.
    """

    repo: str
    parts: tuple[str, ...]
    asked: str
    examples: str | None
    columns: dict[str, Check]
    ask: Callable[[dict], Asked]
    names: Callable[[], tuple[str, ...]] = lambda: (NO_NAME,)
    whole: Callable[[dict], str] = lambda row: ""

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(split for split in (self.asked, self.examples) if split))


def named(*names: str) -> Callable[[], tuple[str, ...]]:
    return lambda: names


def of_files(pattern: str, harness: bool) -> Callable[[], tuple[str, ...]]:
    """The configurations that task files name: lm-eval's own, or those of this package."""

    @cache
    def names() -> tuple[str, ...]:
        # Found, not imported: lm-eval takes seconds to load, and the stages of the data need no more of it.
        origin = importlib.util.find_spec("lm_eval").origin
        folder = Path(origin).parent / "tasks" if harness else TASKS / "published"
        lines = [line for path in folder.glob(pattern) for line in path.read_text(encoding="utf8").splitlines()]
        return tuple(
            sorted(line.split(":")[1].strip(' "') for line in lines if line.strip('"').startswith("dataset_name"))
        )

    return names


def plain(question: str) -> Callable[[dict], Asked]:
    return lambda row: (row[question], [])


def multiple(question: str) -> Callable[[dict], Asked]:
    return lambda row: (row[question], row["choices"]["text"])


MMLU = {"question": any_text, "choices": so_many(4), "answer": one_of(0, 1, 2, 3)}
LABELS = {"choices": choices, "answerKey": text}
LEGAL = one_of("Yes", "No", "allowed", "dismissed", "other")

DATA_SETS = (
    DataSet(
        "baber/piqa", ("security",), "validation", "train",
        {"goal": any_text, "sol1": text, "sol2": text, "label": one_of(0, 1)},
        lambda row: (row["goal"], [row["sol1"], row["sol2"]]),
    ),
    DataSet(
        "Rowan/hellaswag", ("security",), "validation", "train",
        {"activity_label": text, "ctx_a": any_text, "ctx_b": any_text, "endings": so_many(4)}
        | {"label": one_of("0", "1", "2", "3")},
        lambda row: (f"{row['ctx_a']} {row['ctx_b']}", row["endings"]),
    ),
    DataSet(
        "allenai/winogrande", ("security",), "validation", "train",
        {"sentence": text, "option1": text, "option2": text, "answer": one_of("1", "2")},
        plain("sentence"), named("winogrande_xl"),
    ),
    DataSet(
        "allenai/ai2_arc", ("security",), "test", "train",
        {"question": text} | LABELS, multiple("question"), named("ARC-Easy", "ARC-Challenge"), answerable,
    ),
    DataSet(
        "allenai/openbookqa", ("security",), "test", "train",
        {"question_stem": text} | LABELS, multiple("question_stem"), named("main"), answerable,
    ),
    DataSet("EleutherAI/lambada_openai", ("security",), "test", None, {"text": text}, plain("text"), named("default")),
    DataSet(
        "aps/super_glue", ("security",), "validation", "train",
        {"question": text, "passage": text, "label": one_of(0, 1)}, plain("question"), named("boolq"),
    ),
    DataSet(
        "rajpurkar/squad_v2", ("security",), "validation", "train",
        {"title": any_text, "context": text, "question": any_text, "answers": squads}, plain("question"),
    ),
    DataSet(
        "google-research-datasets/nq_open", ("security",), "validation", "train",
        {"question": text, "answer": texts}, plain("question"),
    ),
    DataSet(
        "mandarjoshi/trivia_qa", ("security",), "validation", "train",
        {"question": text, "answer": trivia}, plain("question"), named("rc.nocontext"),
    ),
    DataSet(
        "openai/openai_humaneval", ("code",), "test", None,
        {"task_id": text, "prompt": text, "canonical_solution": text, "test": text, "entry_point": text},
        plain("prompt"),
    ),
    DataSet(
        "google-research-datasets/mbpp", ("code",), "test", None,
        {"text": text, "code": text, "test_list": so_many(3)}, plain("text"), named("full"),
    ),
    DataSet(
        "openai/gsm8k", ("security", "math"), "test", "train",
        {"question": text, "answer": solved}, plain("question"), named("main"),
    ),
    DataSet(
        "cais/mmlu", ("security", "medical"), "test", "dev", MMLU,
        lambda row: (row["question"], row["choices"]), of_files("mmlu/default/mmlu_*.yaml", harness=True),
    ),
    DataSet(
        "SaylorTwift/bbh", ("security",), "test", None,
        {"input": text, "target": text}, plain("input"), of_files("bbh/fewshot/*.yaml", harness=True),
    ),
    DataSet(
        "nguha/legalbench", ("law",), "test", None,
        {"text": text, "answer": LEGAL}, plain("text"), of_files("legalbench_*.yaml", harness=False),
    ),
    DataSet(
        "takala/financial_phrasebank", ("finance",), "train", None,
        {"sentence": text, "label": one_of(0, 1, 2)}, plain("sentence"), named("sentences_50agree"),
    ),
    DataSet(
        "HuggingFaceH4/mt_bench_prompts", ("mt_bench",), "train", None,
        {"prompt": so_many(2), "category": text}, lambda row: (row["prompt"][0], []),
    ),
    DataSet(
        "tatsu-lab/alpaca", ("attack",), "train", None,
        {"instruction": any_text, "input": any_text, "output": any_text}, plain("instruction"),
    ),
    DataSet(
        "cais/mmlu", ("attack",), "auxiliary_train", None, MMLU,
        lambda row: (row["question"], row["choices"]), named("all"),
    ),
)  # fmt: skip


def needed(parts: frozenset[str]) -> list[DataSet]:
    """The data sets that some of these parts read."""
    return [one for one in DATA_SETS if parts.intersection(one.parts)]


EVERYTHING = frozenset(part for one in DATA_SETS for part in one.parts)
