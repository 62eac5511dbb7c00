"""All stages in one process on tiny models with the tokenizer habits of the paper's six: victim, labels, difficulty,
a step of each attack and of LoRA, scores.
"""

import math

import numpy as np
import pytest
import torch
import yaml
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from solid_utils.attacks import ATTACKS
from solid_utils.attacks.run import AttackRun
from solid_utils.core import files, paths
from solid_utils.core.errors import StudyError
from solid_utils.core.scored import Scored
from solid_utils.customization.customization import CustomizationRun
from solid_utils.deployment import oracle
from solid_utils.difficulty.difficulty import Difficulty
from solid_utils.evaluation import published_tasks
from solid_utils.evaluation.lean import LeanLM
from solid_utils.model import models, sampling
from solid_utils.settings import params, reading
from tests.cases import tokenizers
from tests.settings.test_params import SHIPPED

SEED = 42
KINDS = {kind.model_fields["attack"].annotation.__args__[0]: kind for kind in ATTACKS}
RECIPE = {"steps": 1, "batch": 2, "validate_every": 1, "learning_rate": 1e-3}
SMALL = {
    "length": 48,
    "labels": {"new_tokens": 4, "batch": 2},
    "evaluation": {
        "samples": 2,
        "limit": 1,
        "apart": {"texts": 1, "length": 16},
        "greedy": {"prompts": 2, "new_tokens": 3},
    },
    "attack": {
        "validation": 2,
        "ft": RECIPE | {"queries": 4},
        "sem": RECIPE | {"queries": 4, "length": 16},
    },
    "customization": RECIPE | {"samples": 2, "validation": 2, "test": 2},
}
# A post-norm layer cannot begin as nothing.
REFUSED = {("opt-350m", "sem_linear"): "sem", ("opt-350m", "ft_closed_linear"): "ft_closed"}
ONE = {"least_squares": "layer 0 o"}  # attacks on a single matrix
SETS = ("attack", "validation", "evaluation", "math_train", "math_validation", "math_test", "apart_c4", "apart_code")


def item(name: str, number: int) -> dict:
    text = f"{number} + {number % 7} is"
    return {
        "id": f"{name}-{number}",
        "source": "alpaca",
        "prompt": f"{text} ",
        "answer": f"{number}.",
        "text": text * 3,
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A study of six models, each in its folder as shipped; sets, victims and their answers made by the stages."""
    folder = tmp_path_factory.mktemp("habits")
    raw = reading.read(SHIPPED) | {"tier": "tiny", "threads": 1}
    raw["tiers"]["tiny"] = params.merge(raw["tiers"]["tiny"], SMALL)
    raw["models"] |= {
        habit: {"source": "folder", "path": str(folder / "shipped" / habit), "weights": "float32", "autocast": None}
        for habit in tokenizers.HABITS
    }
    raw["attacks"] |= {name: {"secured": ONE.get(name, "layers 0"), "attack": name} for name in KINDS}
    raw["customizations"]["layer0-math"] = {"secured": "layers 0", "domain": "math"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "params.yaml").write_text(yaml.safe_dump(raw))
        for name in SETS:
            files.write_lines([item(name, number) for number in range(20)], paths.SETS / f"{name}.jsonl")
        for habit in tokenizers.HABITS:
            tokenizers.write(folder / "shipped" / habit, habit)
            models.materialise(models.victim_folder(habit), params.load().model(habit))
            oracle.label(habit, params.load())
    return folder


@pytest.fixture(params=tokenizers.HABITS)
def habit(request, place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setattr(published_tasks, "run_suite", lambda *_: Scored())
    return request.param


@pytest.fixture
def victim(habit):
    """(model, tokenizer)"""
    return models.load_victim(habit, params.load().model(habit))[:2]


def finite(rows: list[dict]) -> bool:
    return bool(rows) and all(math.isfinite(row["value"]) for row in rows)


def test_labels_are_what_the_victim_says_to_each_prompt_alone(habit, victim):
    model, tokenizer = victim
    labels = oracle.read_labels(habit, noisy=False)
    samples = sampling.samples("attack", tokenizer, 48, 4)
    for sample in samples:
        prompt = torch.tensor([sample["input_ids"][: sample["answer_start"]]])
        said = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=4, do_sample=False)
        said = said[0, prompt.shape[1] :].tolist()
        assert labels[sample["id"]] == said
    assert oracle.read_labels(habit, noisy=True).keys() == labels.keys()


def test_difficulty_is_a_plain_forward_of_each_sample_alone(victim):
    model, tokenizer = victim
    samples = sampling.samples("evaluation", tokenizer, 48, 4)
    score = Difficulty(model, samples, "xavier", tokenizer.pad_token_id)
    losses = score.losses(["none", "layers 0"], [SEED])
    for loss, sample in zip(losses["none"][SEED], samples, strict=True):
        ids = torch.tensor([sample["input_ids"]])
        with torch.no_grad():
            logits = model(ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0, :-1]
        plain = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")[sample["answer_start"] - 1 :]
        assert loss == pytest.approx(plain.double().mean().item(), rel=1e-4)
    assert np.isfinite(losses["layers 0"][SEED]).all()


@pytest.mark.parametrize("attack", KINDS)
def test_an_attack_takes_a_step_and_its_replica_is_scored(habit, attack):
    run = AttackRun(habit, attack)
    if (habit, attack) in REFUSED:
        with pytest.raises(StudyError, match=f"change what enters them; use attack: {REFUSED[habit, attack]}"):
            run.train(SEED)
        return
    history = run.train(SEED)
    assert [row["step"] for row in history][-1] == run.account.steps
    assert finite(run.end_scores(SEED).of(run.row(SEED, run.account.steps)).rows)
    run.state.discard()


def test_lora_takes_a_step_and_the_customized_model_is_scored(habit):
    run = CustomizationRun(habit, "layer0-math")
    assert len(run.train()) == 2
    assert finite(run.scores(run.customized()).rows)
    run.state.discard()


def test_benchmarks_read_and_write_as_lm_evals_own_model_does(victim):
    model, tokenizer = victim
    pairs = [("Name a colour.", " Blue"), ("What is 2 + 2? It is", " 4"), ("Name a colour.", " red"), ("", "Blue is")]
    asked = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]
    theirs = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, device="cpu")
    lean = LeanLM(model, tokenizer)
    for mine, plain in zip(lean.loglikelihood(asked), theirs.loglikelihood(asked), strict=True):
        assert mine == pytest.approx(plain, rel=1e-4)
    settings = [{"until": ["\n"], "max_gen_toks": count, "do_sample": False} for count in (5, 9)]
    texts = [("Name a colour. ", settings[0]), ("Say it twice: no no", settings[1])]
    asked = [Instance("generate_until", {}, text, number) for number, text in enumerate(texts)]
    assert lean.generate_until(asked) == theirs.generate_until(asked)
