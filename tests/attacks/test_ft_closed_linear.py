"""FT-closed on logits after the closed-form map: it begins where the map ends and pays for both."""

import pytest
import safetensors.torch
import torch

from solid_utils.attacks import declared, linear_map
from solid_utils.attacks.beside_map import MAP
from solid_utils.core.errors import StudyError
from solid_utils.deployment import oracle
from solid_utils.model import ridge_map
from solid_utils.settings.attack_params import AttackSection
from tests.attacks.test_run import SEED, attack, place  # noqa: F401 (fixtures)


def test_it_begins_at_the_map_and_only_the_secret_is_trained(attack):  # noqa: F811
    run = attack("closed-linear")
    history = run.train(SEED)
    assert [row["step"] for row in history] == [0, 1, 3, 5]  # 16 texts in one batch of the map, then 4 steps
    fitted = linear_map.load(run.state.folder / f"{MAP}.safetensors")
    asked = oracle.Oracle(run.victim, run.secured, run.tokenizer.pad_token_id)
    assert torch.equal(fitted, linear_map.fit(run.start(SEED), asked, run.samples, 1, True).bfloat16().float())
    stitched = run.start(SEED)
    linear_map.install(stitched, run.seen, fitted)
    assert history[1]["validation_kl"] == pytest.approx(run.validate(stitched)["kl"], rel=1e-3)
    assert history[-1]["validation_kl"] < history[1]["validation_kl"] < history[0]["validation_kl"]
    tensors = safetensors.torch.load_file(run.kept(SEED))
    assert set(tensors) == {MAP, *run.secured.names} and torch.equal(tensors[MAP].float(), fitted)
    begun, ended = dict(run.start(SEED).named_parameters()), dict(run.replica(SEED).named_parameters())
    changed = {name for name, tensor in ended.items() if not torch.equal(tensor, begun[name])}
    assert changed <= set(run.secured.names) and any("mlp" in name for name in changed)
    ids = torch.tensor([run.samples[0]["input_ids"]])
    assert run.replica(SEED)(input_ids=ids).logits.isfinite().all()


def test_it_pays_for_the_map_and_for_the_logits(attack):  # noqa: F811
    run, closed, stitch = attack("closed-linear"), attack("closed-logits"), attack("stitch")
    before, fitted, after = (run.row(SEED, steps) for steps in (0, 1, run.account.steps))
    assert (before["queries"], before["flops"], before["samples"], before["start"]) == (0, 0, 0, "skip")
    assert fitted["queries"] == len(run.samples) + len(run.validation) == 16 + 4
    assert after["queries"] == 2 * 16 + 4 and after["samples"] == 16 + 4 * 4
    tokens = [sum(len(sample["input_ids"]) for sample in part) for part in (run.samples, run.validation)]
    assert after["tokens"] == 2 * tokens[0] + tokens[1]
    map_flops = ridge_map.flops(tokens[0], run.width, 1, 0, True)
    assert fitted["flops"] == map_flops and after["flops"] == map_flops + closed.row(SEED, 4)["flops"]
    assert stitch.row(SEED, 2)["flops"] > 0
    assert after["recipe"] == (
        "adamw 0.001, decay 0.1, cosine, batch 4, kl on logits, beside a ridge map of 1 previous tokens, inputs scaled"
    )
    assert after["view"] == "token ids and boundary states, then answers and their logits"
    assert (after["labels"], after["numbers"]) == ("victim", run.width + run.vocabulary)


@pytest.mark.parametrize("option", [{"start": "xavier"}, {"objective": "answers"}, {"after": "sem"}])
def test_what_would_make_it_another_attack_is_refused(option):
    section = AttackSection(attack="ft_closed_linear", secured="layers 0", **option)
    with pytest.raises(StudyError, match=r"^attacks\.x: (start|objective): "):
        declared.declared(section, "attacks.x")


def test_states_that_are_not_visible_are_one_line(attack):  # noqa: F811
    with pytest.raises(StudyError, match="not visible") as caught:
        attack("closed-linear-all").train(SEED)
    assert "\n" not in str(caught.value)
