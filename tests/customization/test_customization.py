"""A customization's benchmarks by domain, on mirrors with hand-made rows."""

import sys
from pathlib import Path

import pytest
import yaml

from solid_utils.core import schema
from solid_utils.core.errors import StudyError
from solid_utils.core.scored import Scored
from solid_utils.customization.customization import CustomizationRun
from solid_utils.customization.scoring import published_scores
from solid_utils.evaluation import mt_bench, published_tasks
from solid_utils.evaluation.lean import LeanLM
from solid_utils.evaluation.published_tasks import CUSTOMIZATION
from solid_utils.settings import data_params, params, reading
from tests import mirrors
from tests.conftest import byte_llama
from tests.customization import runs

REPOS = ("openai/gsm8k", "takala/financial_phrasebank", "nguha/legalbench", "HuggingFaceH4/mt_bench_prompts")
DOMAINS = {"math": ["GSM8K"], "code": [], "finance": ["FPB"], "law": ["LegalBench"]}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The study as shipped, its data on a mirror, its judge one that gives every conversation a 7."""
    folder = mirrors.write(tmp_path_factory.mktemp("mirror"), REPOS)
    (folder / "judge.py").write_text("import sys\nfor line in sys.stdin:\n    print(7)\n")
    change = {"mirror": str(folder), "judge": f"{sys.executable} {folder}/judge.py"}
    whole = params.load()
    return whole.model_copy(update={"published": whole.published.model_copy(update=change)})


@pytest.fixture(autouse=True)
def quick_answers(monkeypatch):
    monkeypatch.setattr(LeanLM, "loglikelihood", lambda _, requests, **kwargs: [(-1.0, False)] * len(requests))
    monkeypatch.setattr(LeanLM, "generate_until", lambda _, requests, **kwargs: [" #### 1000"] * len(requests))


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_domain_has_its_benchmarks_and_mt_bench(study, tokenizer, capsys, domain):
    published_tasks.suite.cache_clear()
    scored = published_scores(byte_llama(0), tokenizer, study, domain, limit=1)
    assert [row["benchmark"] for row in scored.rows] == [*DOMAINS[domain], "MT-Bench"]
    assert {row["domain"] for row in scored.rows} == {"customization"}
    assert all(sorted(row) == sorted(schema.OUTCOME) for row in scored.rows)
    values = {row["benchmark"]: row["value"] for row in scored.rows}
    assert values["MT-Bench"] == 7 and values.get("GSM8K", 1) == 1
    assert ("HumanEval, MBPP: left out" in capsys.readouterr().out) == (domain == "code")


def test_the_untouched_model_is_rated_once_and_scored_once_a_domain(study, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr("solid_utils.core.paths.STATE", tmp_path)
    rated, judged = [], mt_bench.judged
    monkeypatch.setattr(mt_bench, "judged", lambda talks, judge: rated.append(1) or judged(talks, judge))
    run = CustomizationRun.__new__(CustomizationRun)  # with what _before reads, and no data set
    run.study, run.spec, run.model, run.revision = study, study.model("tiny"), "tiny", "none"
    run.budget = study.model_copy(update={"tier": "paper"}).budgets("tiny")
    run.victim, run.tokenizer, run.sets = byte_llama(0), tokenizer, {"test": []}
    monkeypatch.setattr(CustomizationRun, "_domain_scores", lambda *_: Scored())
    found = {}
    for domain in ("math", "finance", "math"):
        run.customization = params.CustomizationRun(secured="solid", domain=domain)
        found[domain] = [row["benchmark"] for row in run._before().rows]
    assert found == {"math": ["GSM8K", "MT-Bench"], "finance": ["FPB", "MT-Bench"]}
    assert len(rated) == 1


def test_without_a_judge_mt_bench_is_skipped(study, tokenizer, capsys):
    silent = study.model_copy(update={"published": study.published.model_copy(update={"judge": None})})
    scored = published_scores(byte_llama(0), tokenizer, silent, "math", limit=1)
    assert [row["benchmark"] for row in scored.rows] == ["GSM8K"]
    assert "MT-Bench: skipped" in capsys.readouterr().out


def test_domains_are_table_6s():
    known = data_params.HubDomain.__args__
    assert {row.domain.lower() for row in CUSTOMIZATION} == set(known) - {"alignment"}  # MT-Bench alone rates that


def test_a_domain_without_training_data_here_says_so(tmp_path, monkeypatch):
    raw = reading.read(Path("params.yaml"))
    raw["customizations"]["solid-finance"] = {"secured": "solid", "domain": "finance"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        StudyError, match="solid-finance: domain finance: its training data come from the hub and are not run"
    ):
        CustomizationRun("tiny", "solid-finance")


def test_what_scores_depend_on_is_in_the_state(study):
    run = object.__new__(CustomizationRun)
    run.study = study
    before = run._scored_with
    judged = study.published.model_copy(update={"judge": "another"})
    for change in ({"allow_code": not study.allow_code}, {"published": judged}):
        run.study = study.model_copy(update=change)
        assert run._scored_with != before


def test_a_run_that_asks_not_what_is_forgotten_is_scored_on_its_problems_alone(tokenizer, tmp_path, monkeypatch):
    made = runs.run(tmp_path, byte_llama(0), tokenizer, "layers 0", runs.method("full"))
    made.customization = made.customization.model_copy(update={"forgotten": False})
    monkeypatch.setattr(published_tasks, "run_suite", None)
    for scored in (made._before(), made.scores(made.victim)):
        assert {(row["benchmark"], row["domain"]) for row in scored.rows} == {("sums", "customization")}
