"""The paper's customization data (Table 8): where each domain's rows come from, and what becomes of a row.

Rows become Alpaca prompts (Table 4) and answers; for alignment a better and a worse answer. Commits are ones that other
public code pins; none was fetched here. Where no public pin was found, the field is empty and data.revisions must give
one: a branch may hold other rows tomorrow. Copies in published.mirror need none.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from solid_utils.core.errors import StudyError
from solid_utils.data.asked import Bank, told
from solid_utils.data.prompts import alpaca_item
from solid_utils.model import hub
from solid_utils.settings import data_params
from solid_utils.tasks.downloads import DATA_SETS, Check, any_text, one_of, shown, text

Made = tuple[str, str, str | tuple[str, str]]  # instruction, input, answer (alignment: the better one, the worse one)


@dataclass(frozen=True)
class Source:
    """A data set of the hub: its commit, columns with a check of their values, and what a row becomes.

    `rows`: as many as Table 8 prints, where it prints them of this one. `configured`: `split` is read of every
    configuration that no benchmark scores; else the data set has but one.
    """

    repo: str
    rows: str
    revision: str | None
    columns: dict[str, Check]
    make: Callable[[dict], Made | None]
    split: str = "train"
    configured: bool = False


def conversation(value: object) -> str:
    """Messages of a prompt and its answer, as UltraFeedback has them."""
    last = value[-1] if isinstance(value, list) and value else None
    if not isinstance(last, dict) or last.get("role") != "assistant":
        return f"is no conversation that ends with an answer ({shown(value)})"
    return any_text(last.get("content"))


def multiple_choice(row: dict) -> Made:
    """MedMCQA: the choices in the prompt, letter and text as the answer."""
    choices = dict(zip("ABCD", (row["opa"], row["opb"], row["opc"], row["opd"]), strict=True))
    letter = "ABCD"[row["cop"]]
    listed = "\n".join(f"{one}:{said}" for one, said in choices.items())
    return row["question"], listed, f"{letter}:{choices[letter]}"


def legal(row: dict) -> Made:
    """LegalBench's tasks differ in their columns: all texts but the answer, each under its name."""
    task = row["configuration"].replace("_", " ")
    kept = {name: said for name, said in row.items() if name not in ("answer", "index", "configuration")}
    given = "\n".join(f"{name}: {said}" for name, said in kept.items() if isinstance(said, str) and said.strip())
    return f"Solve the legal task '{task}'.", given, row["answer"].strip()


def preferred(row: dict) -> Made | None:
    """UltraFeedback: nothing where both answers are the same, of which nothing can be learned."""
    better, worse = row["chosen"][-1]["content"], row["rejected"][-1]["content"]
    return (row["prompt"], "", (better, worse)) if better.strip() and better != worse else None


def fingpt(name: str) -> Source:
    columns = {"instruction": text, "input": any_text, "output": any_text}
    return Source(
        f"FinGPT/fingpt-{name}", "", None, columns, lambda row: (row["instruction"], row["input"], row["output"])
    )


MEDICAL = {"question": text, "opa": any_text, "opb": any_text, "opc": any_text, "opd": any_text} | {
    "cop": one_of(0, 1, 2, 3)
}
ALPACA = {"instruction": text, "input": any_text, "output": any_text}

DOMAINS: dict[str, tuple[Source, ...]] = {
    "code": (
        Source(
            "m-a-p/CodeFeedback-Filtered-Instruction", "156k", "a08c213a9748c66c15d0225814be80a2e77adf4a",
            {"query": text, "answer": any_text}, lambda row: (row["query"], "", row["answer"]),
        ),
        Source(
            "sahil2801/CodeAlpaca-20k", "20k", None,
            ALPACA, lambda row: (row["instruction"], row["input"], row["output"]),
        ),
    ),
    "math": (
        Source(
            "TIGER-Lab/MathInstruct", "262k", "b4fdc323a7be1379c9c7c0b67b1de72dfee2111a",
            {"instruction": text, "output": any_text}, lambda row: (row["instruction"], "", row["output"]),
        ),
    ),
    "medical": (
        Source(
            "openlifescienceai/medmcqa", "183k", "91c6572c454088bf71b679ad90aa8dffcd0d5868", MEDICAL, multiple_choice,
        ),
    ),
    # "All training datasets" (B.6) hold a few worked examples a task; 90k rows are near all rows of all tasks. So the
    # test rows are read, of tasks that Table 6's benchmark does not ask.
    "law": (
        Source(
            "nguha/legalbench", "90k", hub.REVISIONS["nguha/legalbench"], {"answer": text}, legal, "test",
            configured=True,
        ),
    ),
    # FinGPT's training sets for several tasks, merged; Table 8 prints 204k and does not name them.
    "finance": tuple(fingpt(name) for name in ("sentiment-train", "headline", "finred", "fiqa_qa", "ner")),
    "alignment": (
        Source(
            "HuggingFaceH4/ultrafeedback_binarized", "62k", "3949bf5f8c17c394422ccfab0c31ea9c20bdeb85",
            {"prompt": text, "chosen": conversation, "rejected": conversation}, preferred, "train_prefs",
        ),
    ),
}  # fmt: skip


def split(
    domain: str, settings: data_params.Data, published: data_params.Published, bank: Bank | None = None
) -> dict[str, list[dict]]:
    """The domain's disjoint sets {train, validation, test} of data.customization's sizes, by one seeded shuffle.

    Sources differ in size (Table 8), so `train` is at most: where a domain has fewer, a line says how many. `bank`:
    what benchmarks ask, which no row may. A row without an answer is left out, and so is a second one that asks the
    same. Raises StudyError where a source is not to be had, has another schema, or nothing is left to train on.
    """
    bank = bank or Bank()
    found: dict[tuple[str, str], dict] = {}
    for source in DOMAINS[domain]:
        for row in rows(source, settings, published):
            if (made := source.make(row)) and _answered(made[2]):
                found.setdefault(made[:2], item(source, *made))
    items = [(asks, one) for asks, one in found.items()]
    items = told(domain, items, [(asks, one) for asks, one in items if not any(map(bank.asks, asks))])
    random.Random(settings.seed).shuffle(items)
    sizes = settings.customization
    left = len(items) - sizes.validation - sizes.test
    if left < 1:
        raise StudyError(
            f"params.yaml: data.customization: {sizes.validation} {domain} items asked for validation and {sizes.test} "
            f"for the test, {len(items)} there; ask for fewer"
        )
    if left < sizes.train:
        print(f"{domain}: {sizes.train} training items asked, {left} are left; all of them are taken", flush=True)
    wanted = {"train": min(sizes.train, left), "validation": sizes.validation, "test": sizes.test}
    sets, first = {}, 0
    for name, size in wanted.items():
        cut = items[first : first + size]
        sets[name] = [{"id": f"{domain}-{name}-{n:05d}"} | one for n, (_, one) in enumerate(cut)]
        first += size
    return sets


def rows(source: Source, settings: data_params.Data, published: data_params.Published) -> Iterator[dict]:
    """Checked rows of a source. Raises StudyError without a revision, and for a row of another schema."""
    revision = source.revision or settings.revisions.get(source.repo)
    if revision is None and not published.mirror:
        raise StudyError(
            f"params.yaml: data.revisions: no commit of {source.repo}, and none is pinned here; write the 40 digits "
            f"that `git ls-remote https://huggingface.co/datasets/{source.repo} main` prints"
        )
    scored = {name for one in DATA_SETS if one.repo == source.repo for name in one.names()}
    names = [None]
    if source.configured:
        names = [name for name in hub.names(source.repo, published, revision) if name not in scored]
    for name in names:
        for number, row in enumerate(hub.load(source.repo, published, name, source.split, revision), 1):
            for column, check in source.columns.items():
                wrong = check(row[column]) if column in row else "is missing"
                if wrong:
                    raise StudyError(
                        f"{source.repo}: {source.split} row {number}: {column}: {wrong}; copy the data set itself, or "
                        "mend data.revisions"
                    )
            yield row | ({"configuration": name} if name else {})


def item(source: Source, instruction: str, given: str, answer: str | tuple[str, str]) -> dict:
    """A row as an item: prompt and answer, or prompt, chosen and rejected."""
    made = alpaca_item({"instruction": instruction, "input": given, "output": answer})
    made["source"] = source.repo.rpartition("/")[2].lower()
    if isinstance(answer, tuple):
        del made["answer"]
        made |= {"chosen": answer[0], "rejected": answer[1]}
    return made


def _answered(answer: str | tuple[str, str]) -> bool:
    return all(one.strip() for one in (answer if isinstance(answer, tuple) else (answer,)))
