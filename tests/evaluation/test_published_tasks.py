"""The paper's benchmarks on mirrors with hand-made rows: no hub, every one of them asked and scored."""

import math
from types import SimpleNamespace

import pandas as pd
import pytest

from solid_utils.core import schema
from solid_utils.core.errors import StudyError
from solid_utils.evaluation import evaluation, published_tasks, sandbox
from solid_utils.evaluation.lean import LeanLM
from solid_utils.evaluation.published_tasks import CUSTOMIZATION, SECURITY, suite
from solid_utils.model import hub
from solid_utils.paper import paper
from solid_utils.settings import data_params
from solid_utils.tasks import downloads
from tests import mirrors
from tests.conftest import byte_llama


@pytest.fixture(scope="module", autouse=True)
def asked():
    """Runs the programs of this file without the sandbox, which is tested by itself; what was asked of it."""
    found = []

    def passes(programs: list[str]) -> list[bool]:
        assert found
        return [not runs(program) for program in programs]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox, "check", found.append)
        patch.setattr(sandbox, "pass_at_1", passes)
        yield found


def runs(program: str) -> Exception | None:
    try:
        exec(program, {})
    except Exception as error:
        return error


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = mirrors.write(tmp_path_factory.mktemp("mirror"))
    return data_params.Published(mirror=str(folder), judge=None)


@pytest.fixture(scope="module")
def security(settings):
    return suite(SECURITY, settings, allow_code=True)


@pytest.fixture(scope="module")
def customization(settings):
    return suite(CUSTOMIZATION, settings, allow_code=True)


def test_tables_are_the_papers():
    seven, six = (
        pd.read_csv(paper.PUBLISHED / name)
        for name in (
            "table07_functionality_benchmarks.csv",
            "table06_customizability_benchmarks.csv",
        )
    )
    six = six[six.benchmark != "MT-Bench"]
    for rows, table in ((SECURITY, seven), (CUSTOMIZATION, six)):
        printed = table[["benchmark", "domain", "n_shot"]].itertuples(index=False, name=None)
        assert [(row.name, row.domain, row.shots) for row in rows] == list(printed)
    kinds = {"Accuracy": ("acc", "acc_norm"), "Exact Match": ("exact_match",), "Pass@1": ("pass@1", "pass_at_1")}
    kinds |= {"HasAns_EM": ("HasAns_exact",), "HasAns_F1": ("HasAns_f1",), "F1": ("f1",)}
    for row, metric in zip([*SECURITY, *CUSTOMIZATION], [*seven.metric, *six.metric], strict=True):
        assert row.metric in kinds[metric] or (row.name, row.metric) == ("BBH", "exact_match")


def test_every_task_file_is_found(security, customization):
    sizes = {benchmark.name: len(benchmark.tasks) for benchmark in [*security, *customization]}
    assert {name: size for name, size in sizes.items() if size != 1} == {
        "MMLU": 57, "BBH": 27, "MMLU_Medical": 2, "LegalBench": 10,
    }  # fmt: skip


MARKS = {  # what stands once in every worked example and once in the question
    "SQuADv2_EM": "Question: ", "NaturalQuestions": "Q: ", "TriviaQA": "Question: ", "HumanEval": "def twice",
    "MBPP": "[BEGIN]", "GSM8K": "Question: ", "MMLU": "Answer:", "BBH": "\nA:", "PIQA": "Question: ",
    "BoolQ": "Question: ", "ARC-easy": "Question: ", "MMLU_Medical": "Answer:", "FPB": "Input: ",
    "LegalBench": "Label:",
}  # fmt: skip


def test_prompts_have_as_many_worked_examples_as_the_paper(security, customization):
    for benchmark, row in zip([*security, *customization], [*SECURITY, *CUSTOMIZATION], strict=True):
        for task in benchmark.tasks.values() if row.name in MARKS else []:
            task.build_all_requests(limit=2)
            mark = {"hearsay": "\nA:", "canada": "OUTCOME:", "contract_qa": "Answer:"}
            mark = next((own for name, own in mark.items() if name in task.task_name), MARKS[row.name])
            assert task.instances[0].args[0].count(mark) == row.shots + 1, task.task_name


RIGHT = {
    "squadv2": " The right answer!", "nq_open": " Mr. Right\n", "triviaqa": " right\n",
    "humaneval": "    return 2 * n\n", "mbpp": "def twice(n):\n    return 2 * n\n", "gsm8k": " It is.\n#### 1000",
}  # fmt: skip


def is_right(request) -> bool:
    """Of a context and a continuation that are compared by likelihood."""
    context, continuation = request.args
    for name, right in {"mmlu": " B", "boolq": " yes", "legalbench_canada": " allowed", "legalbench": " Yes"}.items():
        if request.task_name.startswith(name):
            return continuation == right
    if request.task_name == "winogrande":
        return "right" in context
    return continuation == " positive" if request.task_name == "fpb" else "right" in continuation


@pytest.mark.parametrize("knows", [True, False])
def test_right_answers_score_one_and_wrong_ones_zero(security, customization, tokenizer, monkeypatch, knows):
    def likelihoods(_, requests, **kwargs):
        return [(-1.0 if is_right(request) == knows else -90.0, is_right(request) == knows) for request in requests]

    def texts(_, requests, **kwargs):
        return [RIGHT.get(request.task_name, " right") if knows else " no" for request in requests]

    monkeypatch.setattr(LeanLM, "loglikelihood", likelihoods)
    monkeypatch.setattr(LeanLM, "generate_until", texts)
    scored = evaluation.score(byte_llama(0), tokenizer, [*security, *customization])
    assert {(row["benchmark"], row["value"]) for row in scored.rows} == {
        (row.name, float(knows)) for row in (*SECURITY, *CUSTOMIZATION)
    }
    assert all(list(row) == schema.OUTCOME for row in scored.rows)
    sizes = {row["benchmark"]: row["n"] for row in scored.rows}
    names = ("PIQA", "SQuADv2_EM", "MMLU", "BBH", "FPB", "LegalBench")
    assert [sizes[name] for name in names] == [9, 6, 57 * 9, 27 * 9, 3, 90]
    floors = {row["benchmark"]: row["floor"] for row in scored.rows}  # nine rows: right moves over four places, or not
    assert [floors[name] for name in ("ARC-easy", "OpenBookQA")] == [3 / 9, 3 / 9]
    same = ("PIQA", "Winogrande", "BoolQ", "MMLU", "LegalBench", "BBH", "FPB")
    assert {floors[name] for name in same} == {1.0}
    assert all(math.isnan(floors[name]) for name in ("GSM8K", "SQuADv2_F1", "MBPP"))
    assert all(item["value"] == knows * item["weight"] for item in scored.items)


def test_a_model_runs_them_all(security, customization, tokenizer):
    model = byte_llama(0, positions=4096)
    scored = evaluation.score(model, tokenizer, [*security, *customization], limit=1)
    assert len(scored.rows) == len(SECURITY) + len(CUSTOMIZATION)
    assert all(0 <= row["value"] <= 1 for row in scored.rows)
    chances = {row["benchmark"]: row["chance"] for row in scored.rows}
    assert [chances[name] for name in ("PIQA", "MMLU", "BoolQ", "GSM8K", "BBH", "FPB")] == [0.5, 0.25, 0.5, 0, 0, 1 / 3]
    assert chances["LegalBench"] == pytest.approx((9 / 2 + 1 / 3) / 10)


@pytest.mark.parametrize(
    ("text", "exact", "f1"),
    [("The right answer!", 1, 1), (" right answer", 1, 1), ("a right one", 0, 0.5), ("", 0, 0), ("answer", 0, 2 / 3)],
)
def test_squads_own_scores(security, text, exact, f1):
    """By hand, after SQuAD's rules: case, punctuation and articles do not count; the best of the answers does."""
    task = security[8].tasks["squadv2"]
    scores = task.process_results({"answers": {"text": ["the right answer", "an"]}}, [text])
    assert scores == {"HasAns_exact": exact, "HasAns_f1": pytest.approx(f1)}


def test_squads_worked_examples_are_lm_evals(settings):
    """Every third question has no answer: lm-eval draws examples for it, and the next question gets the next ones."""
    rows = tuple(row for row in SECURITY if row.name == "SQuADv2_EM")
    ((_, task),) = suite(rows, settings, allow_code=False)[0].tasks.items()
    for limit, numbers in ((None, [0, 1, 3, 4, 6, 7]), (3, [0, 1, 3])):
        task.build_all_requests(limit=limit)
        ours = {one.doc_id: one.args[0] for one in task.instances}
        assert list(ours) == numbers == [number for number, _ in task.doc_iterator(limit=limit)]
    task.sampler.set_rnd(evaluation.FEWSHOT_SEED)
    plain = super(published_tasks.HasAnswer, task).fewshot_context
    theirs = {number: plain(task.eval_docs[number], 2) for number in range(9)}
    assert ours == {number: theirs[number] for number in numbers}


def test_f1_weighs_classes_by_their_share():
    """Two of three right for the class with three, none for the other: F1 0.667 and 0, weights 3/4 and 1/4."""
    assert published_tasks.weighted_f1([(0, 0), (0, 0), (0, 1), (1, 0)]) == pytest.approx(2 / 3 * 3 / 4)


def constant(metric: str, weighed: bool, *targets: list, kind: str = "generate_until") -> float:
    """The floor of a benchmark whose tasks have these right answers."""
    tasks = {
        str(number): SimpleNamespace(
            OUTPUT_TYPE=kind,
            multiple_input=False,
            doc_iterator=lambda limit, found=found: enumerate(found),
            doc_to_target=lambda document: document,
            aggregation=lambda: {"f1": published_tasks.weighted_f1},
        )
        for number, found in enumerate(targets)
    }
    return evaluation._floor(evaluation.Benchmark("one", "Gen", metric, tasks, weighed=weighed), None)


def test_a_constant_answer_to_what_is_generated():
    """BBH: half of one task's answers are True, none of the other's comes twice; six items in all."""
    assert constant("exact_match", True, ["True", "False", "True", "False"], ["a", "b"]) == pytest.approx((2 + 1) / 6)
    assert math.isnan(constant("exact_match", True, ["a", "b"]))
    assert constant("acc", True, ["a", "b", "a"], kind="loglikelihood") == pytest.approx(2 / 3)
    assert math.isnan(constant("pass_at_1", True, ["a", "a"]))


def test_a_constant_answers_f1():
    """Always class 1: precision 2/3, recall 1, so F1 0.8, and it weighs 2/3."""
    assert constant("f1", True, [1, 1, 0], kind="multiple_choice") == pytest.approx(0.8 * 2 / 3)


def test_an_f1_has_a_standard_error():
    """Of 200 items of one class, 80 % right, recall is 0.8 and F1 its double over 1.8; that of a mean is known."""
    pairs = [(0, 0)] * 160 + [(0, 1)] * 40
    task = SimpleNamespace(aggregation=lambda: {"f1": published_tasks.weighted_f1})
    benchmark = evaluation.Benchmark("FPB", "Finance", "f1", {"fpb": task})
    found = evaluation._redrawn(benchmark, {"fpb": [{"f1": pair, "filter": "none"} for pair in pairs]})
    recall = math.sqrt(0.8 * 0.2 / 200)
    assert found == pytest.approx(2 / 1.8**2 * recall, rel=0.12)
    one = evaluation.Benchmark("one", "Gen", "acc", {"one": task})
    assert math.isnan(evaluation._redrawn(one, {"one": [{"acc": 1.0, "filter": "none"}]}))


def test_code_is_left_out_unless_allowed(settings, asked, capsys):
    asked.clear()
    suite.cache_clear()
    names = [benchmark.name for benchmark in suite(SECURITY, settings, allow_code=False)]
    assert names == [row.name for row in SECURITY if not row.code]
    assert capsys.readouterr().out.startswith("HumanEval, MBPP: left out, because generated code is run")
    assert asked == []
    suite(SECURITY, settings, allow_code=True)
    assert asked == [True]


def test_without_mirror_or_hub_one_line_names_the_setting(tmp_path, monkeypatch):
    gone = data_params.Published(mirror=str(tmp_path / "gone"), judge=None)
    with pytest.raises(
        StudyError, match=r"baber/piqa: not to be had from the mirror .*published.mirror in params.yaml"
    ):
        suite(SECURITY, gone, allow_code=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(StudyError, match=r"baber/piqa: not to be had from the hub .*published.mirror in params.yaml"):
        suite(SECURITY, data_params.Published(mirror=None, judge=None), allow_code=False)


def test_every_data_set_has_a_revision(monkeypatch):
    """What would be asked of the hub: a full commit, or the branch that params.yaml names."""
    asked = {}

    def load(path, name=None, revision=None, **kwargs):
        asked[path] = revision
        raise ConnectionError("no hub")

    monkeypatch.setattr("datasets.load_dataset", load)
    settings = data_params.Published(mirror=None, judge=None)
    for row in (*SECURITY, *CUSTOMIZATION):
        with pytest.raises(StudyError, match="no hub"):
            suite((row,), settings, allow_code=True)
    assert asked.keys() == mirrors.MAKERS.keys() - {"HuggingFaceH4/mt_bench_prompts"}
    assert all(len(revision) == 40 for revision in hub.REVISIONS.values())
    assert all(revision == hub.REVISIONS[repo] for repo, revision in asked.items())


def test_a_benchmark_is_not_built_on_a_broken_copy(tmp_path):
    rows = tuple(row for row in SECURITY if row.name == "PIQA")
    place = mirrors.write(tmp_path, ["baber/piqa"]) / "baber/piqa"
    whole = (place / "default/train.jsonl").read_text()
    broken = data_params.Published(mirror=str(tmp_path), judge=None)
    (place / "default/train.jsonl").write_text(whole.replace('"wrong"', "null"))
    with pytest.raises(StudyError, match=r"default/train.jsonl: row 1: sol1: is no text \(None\); download it again"):
        suite(rows, broken, allow_code=False)
    (place / "default/train.jsonl").write_text(whole)
    (place / "piqa.py").write_text("raise SystemExit('run')")
    with pytest.raises(StudyError, match="a loading script, which is never run"):
        suite(rows, broken, allow_code=False)
    (place / "piqa.py").unlink()
    assert [benchmark.name for benchmark in suite(rows, broken, allow_code=False)] == ["PIQA"]


def test_the_table_is_that_of_the_task_files(monkeypatch, asked):
    """What lm-eval opens of each data set: its configuration, the split it asks and that of the worked examples."""
    asked.append(True)  # as with allow_code
    opened = {}
    seen = []
    monkeypatch.setattr(published_tasks, "_loaded", lambda config, kind, repo, settings: seen.append((repo, config)))
    settings = data_params.Published(mirror="unused", judge=None)
    for row in (*SECURITY, *CUSTOMIZATION):
        for pattern in row.files:
            for path in row.folder.glob(pattern):
                published_tasks._task.__wrapped__(path, row.shots, row.filter, settings)
    for repo, config in seen:
        splits = [config.get(f"{name}_split") for name in ("test", "validation", "fewshot", "training")]
        name = config.get("dataset_name") or downloads.NO_NAME
        opened.setdefault(repo, set()).add((name, splits[0] or splits[1], splits[2] or splits[3]))
    opened[published_tasks.SQUAD] = {(downloads.NO_NAME, "validation", "train")}  # a class of lm-eval's
    table = {}
    for one in downloads.DATA_SETS:
        if "attack" not in one.parts and "mt_bench" not in one.parts:
            table[one.repo] = {(name, one.asked, one.examples) for name in one.names()}
    assert table == opened
