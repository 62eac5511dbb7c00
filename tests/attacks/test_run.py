"""Attack runs as params.yaml asks for them, on the tiny random model: what is trained, kept, counted and named."""

from itertools import count

import pandas as pd
import pytest
import torch
import yaml

from solid_utils.attacks import linear_map
from solid_utils.attacks.run import AttackRun
from solid_utils.core import files, paths
from solid_utils.core.errors import StudyError
from solid_utils.core.scored import Scored
from solid_utils.deployment import oracle, starts
from solid_utils.evaluation import published_tasks
from solid_utils.model import models, sampling
from solid_utils.model.layers import DecoderLayers
from solid_utils.settings import params, reading
from solid_utils.training import lora
from tests.settings.test_params import SHIPPED

MODEL, SEED = "tiny", 42
LORA = {"method": "lora", "rank": 2, "alpha": 4}
RUNS = {
    "sem": {"secured": "layers 0", "attack": "sem"},
    "standardised": {
        "secured": "layers 0",
        "attack": "sem",
        "recipe": {"tiny": {"loss": "standardised_mse", "first_weight": 0.01}},
    },
    "closed-logits": {"secured": "layers 0", "attack": "ft_closed", "objective": "logits"},
    "closed-linear": {"secured": "layers 0", "attack": "ft_closed_linear", "previous": 1, "scaled": True},
    "closed-linear-all": {"secured": "layers 0-1 + head", "attack": "ft_closed_linear"},
    "exact": {"secured": "layer 0 k", "attack": "least_squares"},
    "exact-few": {"secured": "layer 0 down", "attack": "least_squares", "recipe": {"tiny": {"queries": 1}}},
    "exact-layer": {"secured": "layers 0", "attack": "least_squares"},
    "stitch": {"secured": "layers 0", "attack": "stitch", "previous": 1},
    "stitch-drawn": {"secured": "layers 0", "attack": "stitch", "previous": 1, "texts": "drawn"},
    "linear": {"secured": "layers 0", "attack": "sem_linear", "previous": 1},
    "linear-untrained": {
        "secured": "layers 0",
        "attack": "sem_linear",
        "previous": 1,
        "recipe": {"tiny": {"steps": 0}},
    },
    "stitch-embeddings": {"secured": "bottom 1 + embeddings", "attack": "stitch"},
    "base": {"secured": "layers 0", "attack": "sem", "start": "public_base"},
    "options-whole": {
        "secured": "layers 0",
        "attack": "sem",
        "recipe": {"tiny": {"loss": "cosine", "warmup": 0.5}},
    },
    "logits": {"secured": "layers 0", "attack": "ft_all", "objective": "logits"},
    "logits-noisy": {"secured": "sap_dp", "attack": "ft_closed", "objective": "logits", "noise": "fresh", "repeats": 3},
    "lora": {"secured": "layers 0", "attack": "ft_all", "recipe": {"tiny": LORA}},
    "lora-cut": {"secured": "layers 0", "attack": "ft_all", "recipe": {"tiny": LORA}},
    "lora-everywhere": {"secured": "fully_secured", "attack": "ft_all", "recipe": {"tiny": LORA}},
    "smaller": {"secured": "layers 1-3", "attack": "sem", "replacement": 1},
    "no-smaller": {"secured": "layers 0", "attack": "sem", "replacement": 1},
    "then-closed": {"secured": "layers 0", "attack": "ft_closed", "after": "sem"},
    "then-all": {"secured": "layers 0", "attack": "ft_all", "after": "then-closed"},
    "options": {
        "secured": "layers 0",
        "attack": "sem",
        "recipe": {"tiny": {"loss": "cosine", "first_weight": 0, "warmup": 0.5}},
    },
}


def words(number):
    return " ".join(f"word{(number * 7 + place) % 23}" for place in range(12))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with parameters, sets, victim, its public base and its answers, as earlier stages leave them."""
    folder = tmp_path_factory.mktemp("study")
    raw = reading.read(SHIPPED) | {"tier": "tiny", "threads": 1}
    raw["attacks"] |= RUNS
    raw["models"]["tiny"] |= {"base": "other"}
    raw["models"]["other"] = raw["models"]["tiny"] | {"base": None}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "params.yaml").write_text(yaml.safe_dump(raw))
        for name, count in (
            ("attack", 400),
            ("validation", 30),
            ("evaluation", 30),
            ("apart_c4", 30),
            ("apart_code", 30),
        ):
            rows = [
                {"id": f"{name}-{n}", "source": "alpaca", "prompt": words(n), "answer": words(3 * n), "text": words(n)}
                for n in range(count)
            ]
            files.write_lines(rows, paths.SETS / f"{name}.jsonl")
        study = params.load()
        models.materialise(models.victim_folder(MODEL), study.model(MODEL))
        models.materialise(models.base_folder(MODEL), study.model("other"))
        oracle.label(MODEL, study)
    return folder


@pytest.fixture
def attack(place, monkeypatch):
    """AttackRun by the run's name, in that folder."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(published_tasks, "run_suite", lambda *_: Scored())
    return lambda run: AttackRun(MODEL, run)


def scored(attack):
    """One run as notebook 03 does it; its history, and its rows before and after."""
    history = attack.train(SEED)
    rows = attack.start_scores(SEED).of(attack.row(SEED, 0)).rows[:1]
    return history, rows + attack.end_scores(SEED).of(attack.row(SEED, attack.account.steps)).rows[:1]


def test_the_rows_of_the_shipped_runs_are_what_they_were(attack):
    recipes = {run: attack(run).row(SEED, 4)["recipe"] for run in ("darknetz-ft_all", "layer0-sem")}
    assert recipes == {
        "darknetz-ft_all": "adamw 0.001, decay 0.1, cosine, batch 4",
        "layer0-sem": "adamw 0.001, decay 0.01, cosine, batch 8 x 64 tokens, relative_mse",
    }


def test_a_start_is_scored_again_when_a_setting_of_its_scores_changes(attack, monkeypatch):
    scored = []
    monkeypatch.setattr(AttackRun, "scores", lambda self, _: scored.append(self) or Scored())
    study, other = params.load(), params.load()
    other.models["other"] = other.model("other").model_copy(update={"revision": "newer"})
    longer = params.load()
    longer.tiers["tiny"]["length"] = 150
    elsewhere = study.published.model_copy(update={"mirror": "elsewhere"})
    changed = [study.model_copy(update={"allow_code": True}), study.model_copy(update={"published": elsewhere})]
    for number, one in enumerate([study, longer, other, *changed], start=1):
        for _ in range(2):
            AttackRun(MODEL, "sem", one).start_scores(SEED)
        assert len(scored) == number


def test_options_are_named_in_the_recipe_and_reach_the_loss(attack):
    run = attack("options")
    expected = "adamw 0.001, decay 0.01, cosine, batch 8 x 64 tokens, cosine, warmup 0.5, first_weight 0"
    assert run.row(SEED, 4)["recipe"] == expected
    losses = [row["loss"] for row in run.train(SEED) if "loss" in row]
    whole = [row["loss"] for row in attack("options-whole").train(SEED) if "loss" in row]
    assert 0 < losses[-1] < 2 and 0 < whole[-1] < 2  # 1 - cos
    assert losses[0] != whole[0]  # the first token counts there


def test_a_loss_that_needs_the_spread_asks_for_all_texts_before_its_first_step(attack):
    run, usual = attack("standardised"), attack("sem")
    assert run.row(SEED, 0)["queries"] == 0
    assert run.row(SEED, 1)["queries"] == len(run.samples) + len(run.validation) == usual.row(SEED, 8)["queries"]
    assert usual.row(SEED, 1)["queries"] == usual.recipe.batch + len(usual.validation)
    losses = [row["loss"] for row in run.train(SEED) if "loss" in row]
    assert losses[-1] < losses[0]
    assert run.row(SEED, 8)["recipe"].endswith("batch 8 x 64 tokens, standardised_mse, first_weight 0.01")


def test_a_stitch_is_fitted_kept_scored_and_counted(attack):
    run = attack("stitch")
    history, (before, after) = scored(run)
    texts = run.samples
    assert [row["step"] for row in history] == [before["steps"], after["steps"]] == [0, 2]  # 32 texts of 16
    assert (before["queries"], before["flops"]) == (0, 0)
    assert (after["queries"], after["tokens"]) == (32, sum(len(text["input_ids"]) for text in texts))
    assert after["recipe"] == "ridge, 1 previous tokens, batch 16 x 64 tokens"
    assert after["view"] == "token ids and boundary states" and after["labels"] == "none"
    assert after["value"] > before["value"]
    kept = linear_map.load(run.kept(SEED))
    asked = oracle.Oracle(run.victim, run.secured, run.tokenizer.pad_token_id)
    assert torch.equal(kept, linear_map.fit(run.start(SEED), asked, texts, 1).bfloat16().float())
    assert asked.sequences == after["queries"] and asked.tokens == after["tokens"]


@pytest.mark.parametrize(
    ("name", "shares"),
    [("stitch", True), ("exact", True), ("sem", True), ("linear", True), ("closed-logits", True), ("logits", False)],
)
def test_what_trains_no_open_tensor_shares_them_and_nothing_touches_the_victim(attack, name, shares):
    run = attack(name)
    before = {key: parameter.detach().clone() for key, parameter in run.victim.named_parameters()}
    scored(run)
    theirs = dict(run.victim.named_parameters())
    for made in (run.start(SEED), run.replica(SEED)):
        open_ones = {key: one for key, one in made.named_parameters() if key in theirs.keys() - run.secured.names}
        assert {one is theirs[key] for key, one in open_ones.items()} == {shares}
        secret = [one for key, one in made.named_parameters() if key in run.secured.names]
        assert not any(one is theirs[key] for one in secret for key in run.secured.names)
    for key, parameter in theirs.items():
        assert torch.equal(parameter, before[key]) and parameter.dtype == before[key].dtype, key
        assert parameter.requires_grad and parameter.grad is None, key


def test_which_texts_a_stitch_gets_may_be_drawn(attack):
    usual, drawn = attack("stitch"), attack("stitch-drawn")
    names = [sample["id"] for sample in drawn.samples]
    assert len(set(names)) == len(usual.samples) == 32
    assert names != [sample["id"] for sample in usual.samples]
    assert names == [sample["id"] for sample in attack("stitch-drawn").samples], "by the seed alone"
    items = sampling.read_set("attack")
    place = {item["id"]: number for number, item in enumerate(items)}
    assert all(place[b] == place[a] + 1 for a, b in zip(names[::2], names[1::2], strict=True)), "sources alternate"
    again = sampling.texts("attack", drawn.tokenizer, 64, 32, SEED + 1)
    assert [sample["id"] for sample in again] != names
    assert drawn.row(SEED, 2)["recipe"] == f"{usual.row(SEED, 2)['recipe']}, texts drawn"
    with pytest.raises(StudyError, match="texts: drawn takes one seed a run, attack.seeds has 2"):
        drawn.attack.drawn_by([1, 2])


def test_a_stitch_below_secret_embeddings_is_refused(attack):
    with pytest.raises(StudyError, match="hides the embeddings") as caught:
        attack("stitch-embeddings").train(SEED)
    assert "\n" not in str(caught.value)


def finished(attack):
    """A whole run as notebook 03 does it, its files written; its history, and its costs before and after."""
    history, (before, after) = scored(attack)
    scores = attack.start_scores(SEED).of(attack.row(SEED, 0)) + attack.end_scores(SEED).of(
        attack.row(SEED, after["steps"])
    )
    curve = pd.DataFrame(
        [attack.row(SEED, row["step"]) | {"split": "validation", "metric": "agreement", "value": 0} for row in history]
    )
    attack.finish(scores, curve, pd.DataFrame([{"id": "one", "victim": "yes", "replica": "no"}]))
    return history, before, after


def test_a_curriculum_goes_on_from_the_replica_and_pays_for_it(attack):
    with pytest.raises(StudyError, match="missing; run `dvc repro attack@tiny-sem` first"):
        attack("then-closed")
    spent, ends = {"queries": 0, "tokens": 0, "flops": 0}, None
    for name, steps in (("sem", 8), ("then-closed", 8 + 4), ("then-all", 8 + 4 + 4)):
        run = attack(name)
        begun = dict(run.begun(SEED).named_parameters())
        assert ends is None or all(torch.equal(tensor, ends[key]) for key, tensor in begun.items())
        own = {
            "queries": len(run.attack.queries(run.account, SEED, 4)),
            "flops": run.attack.flops(run.account, run.account.own_steps),
        }
        ends = dict(run.replica(SEED).named_parameters()) if run.train(SEED) else None
        begins = run.validate(run.begun(SEED))["kl"]
        history, before, after = finished(run)
        assert history[0]["validation_kl"] == pytest.approx(begins, rel=1e-4)
        assert (before["steps"], before["queries"], before["flops"], after["steps"]) == (0, 0, 0, steps)
        assert history[0]["step"] == run.account.done(SEED) and history[-1]["step"] == steps
        assert run.row(SEED, history[0]["step"])["queries"] == spent["queries"]
        assert after["flops"] == spent["flops"] + own["flops"] and after["start"] == "xavier"
        spent = after
    assert after["recipe"].endswith(
        "batch 4, after ft_closed, 12 steps of adamw 0.001, decay 0.1, cosine, batch 4, after sem, 8 steps of "
        "adamw 0.001, decay 0.01, cosine, batch 8 x 64 tokens, relative_mse"
    )
    assert after["queries"] == (32 + 4) + 2 * (16 + 4)


def test_logits_come_with_the_answers_and_under_noise_cost_queries_of_their_own(attack):
    for run, askings, view in (
        ("logits", 1, "answers and their logits; attacker ignores what he sees: boundary states"),
        ("logits-noisy", 1 + 3, "noisy answers and their logits, fresh noise, 3 askings a query"),
    ):
        made = attack(run)
        history, row = made.train(SEED), made.row(SEED, 4)
        assert row["queries"] == askings * 16 + 4 and row["view"] == view and row["labels"] == "victim"
        assert row["recipe"] == "adamw 0.001, decay 0.1, cosine, batch 4, kl on logits"
        assert history[-1]["validation_kl"] < history[0]["validation_kl"]


def test_lora_trains_the_replacement_wholly_and_the_open_layers_by_adapters(attack):
    run = attack("lora")
    run.train(SEED)
    start, end = (dict(model.named_parameters()) for model in (run.start(SEED), run.replica(SEED)))
    changed = {name for name in start if not torch.equal(start[name], end[name])}
    adapted = {f"{name}.weight" for name in lora.open_matrices(run.victim, run.secured)}
    assert changed == adapted | set(run.secured.names) and len(adapted) == 7 * 7
    wrapped, names = lora.wrapped(run.start(SEED), run.secured, run.recipe)
    sizes = {name: parameter.numel() for name, parameter in wrapped.named_parameters()}
    assert run.adapters == sum(sizes[name] for name in names)
    row = run.row(SEED, 4)
    assert row["recipe"] == "adamw 0.001, decay 0.1, cosine, batch 4, lora rank 2, alpha 4"
    tokens = 4 * 4 * sum(run.account.lengths) // 16
    assert row["flops"] == tokens * (
        4 * (run.secured.total + run.adapters) + 2 * (run.secured.parameters + run.adapters)
    )


def test_a_lora_run_that_was_cut_short_ends_at_the_same_replica(attack, monkeypatch):
    whole, cut = attack("lora"), attack("lora-cut")
    whole.train(SEED)
    measure, calls = cut.validate, count(1)

    def mortal(model):
        if next(calls) == 3:  # after 0 and 2 steps
            raise KeyboardInterrupt
        return measure(model)

    monkeypatch.setattr(cut, "validate", mortal)
    with pytest.raises(KeyboardInterrupt):
        cut.train(SEED)
    again = attack("lora-cut")
    assert again.train(SEED) == whole.train(SEED)
    for one, other in zip(again.replica(SEED).parameters(), whole.replica(SEED).parameters(), strict=True):
        assert torch.equal(one, other)


def test_lora_needs_an_open_layer(attack):
    with pytest.raises(StudyError, match="'fully_secured' leaves no decoder layer open; set method: full"):
        attack("lora-everywhere")


def test_a_smaller_replacement_is_fewer_layers_and_nothing_else(attack):
    run, usual = attack("smaller"), attack("sem")
    assert run.replaced.parameters * 3 == run.secured.parameters == 3 * usual.secured.parameters
    before, after = scored(run)[1]
    assert before["secured"] == "layers 1-3" and after["value"] != before["value"]
    assert after["recipe"].endswith("relative_mse, 1 layer(s) in place of all secured")
    tokens = 8 * 8 * sum(run.account.lengths) // 32
    below = 2 * usual.secured.parameters * min(tokens, sum(run.account.lengths))
    assert after["flops"] == tokens * 6 * usual.secured.parameters + below
    replica, plain = run.replica(SEED), models.clone(run.victim)
    models.load_delta(plain, run.kept(SEED))
    layers, ids = DecoderLayers(plain), torch.tensor([run.samples[0]["input_ids"]])
    with torch.no_grad(), layers.replaced({2: layers.skip, 3: layers.skip}):
        expected = plain(input_ids=ids, use_cache=False).logits
        torch.testing.assert_close(replica(input_ids=ids).logits, expected)
    assert {name for name, _ in replica.named_parameters()} & set(run.secured.names) == set(run.replaced.names)


def test_as_many_layers_are_no_smaller_replacement(attack):
    with pytest.raises(StudyError, match="replacement: 1 layers in place of 'layers 0'"):
        attack("no-smaller")


def test_text_alone_has_no_logits(attack, monkeypatch):
    study = params.load()
    study.tiers["tiny"]["attack"]["labels"] = "dataset"
    with pytest.raises(StudyError, match="objective: logits: labels: dataset shows text only"):
        AttackRun(MODEL, "logits", study)


def test_a_run_has_a_start_of_its_own(attack):
    run, usual = attack("base"), attack("sem")
    assert (run.row(SEED, 0)["start"], usual.row(SEED, 0)["start"]) == ("public_base", "xavier")
    base = models.load_base(MODEL, run.spec)
    expected = dict(base.named_parameters())
    started, drawn = (dict(one.start(SEED).named_parameters()) for one in (run, usual))
    fresh = starts.draw(usual.victim, usual.secured.names, "xavier", SEED)
    for name in run.secured.names:
        assert torch.equal(started[name], expected[name]) and torch.equal(drawn[name], fresh[name])
