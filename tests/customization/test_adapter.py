"""The adapter folder: plain peft loads it, and what it was not made for refuses it in one line."""

import json

import peft
import pytest
import torch

from solid_utils.core import files
from solid_utils.core.errors import StudyError
from solid_utils.customization import adapter, gsm8k, written
from solid_utils.deployment.secured import secured_set
from solid_utils.model import models, tensors
from tests.conftest import byte_llama
from tests.customization.runs import ADAPTERS, method, run

IDS = torch.tensor([[5, 9, 33, 40, 7]])


@pytest.fixture
def made(tokenizer, tmp_path):
    """A customer after training; his adapter's folder; the logits of his model."""
    customer = run(
        tmp_path / "state", byte_llama(3), tokenizer, "bottom 1", method("lora", learning_rate=0.1, **ADAPTERS)
    )
    trained, save = [], adapter.save
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapter, "save", lambda model, *rest: save(model, *rest) or trained.append(logits(model)))
        customer._trained_model()
    return customer, customer.state.folder / adapter.FOLDER, trained[0]


@torch.no_grad()
def logits(model):
    return model.eval()(input_ids=IDS).logits


def test_plain_peft_loads_it_merged_and_unmerged(made):
    customer, folder, wanted = made
    plain = peft.PeftModel.from_pretrained(byte_llama(3), folder)
    assert torch.equal(logits(plain), wanted)
    assert not torch.allclose(logits(byte_llama(3)), wanted, atol=0.1)
    torch.testing.assert_close(logits(plain.merge_and_unload()), wanted, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits(customer.customized()), wanted, atol=0.1, rtol=0.1)  # kept in bfloat16


def test_ours_loads_it_on_the_open_part_alone(made):
    """The secret values are not a number there: none is read."""
    customer, folder, _ = made
    opened = models.open_part(byte_llama(3), customer.secured.names)
    adapted = adapter.load(folder, opened, customer.secured)
    assert isinstance(adapted, peft.PeftModel) and not adapted.training


def test_the_same_training_gives_the_same_bytes(made, tokenizer, tmp_path):
    customer, folder, _ = made
    again = run(tmp_path / "again", byte_llama(3), tokenizer, "bottom 1", customer.recipe)
    again._trained_model()
    saved = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(saved) == {adapter.WEIGHTS, adapter.CONFIG, adapter.MADE_FOR}
    assert saved == {path.name: path.read_bytes() for path in (again.state.folder / adapter.FOLDER).iterdir()}
    said = json.loads(saved[adapter.CONFIG])
    assert said["target_modules"] == sorted(said["target_modules"]) and said["base_model_name_or_path"] == "tiny"


def test_of_another_secured_set_or_model_it_is_refused(made):
    _, folder, _ = made
    with pytest.raises(StudyError, match="an adapter of a deployment that secures 'bottom 1', here it is 'top 1'"):
        adapter.load(folder, byte_llama(3), secured_set(byte_llama(3), "top 1"))
    with pytest.raises(StudyError, match=r"an adapter of another model \(tiny\)"):
        adapter.load(folder, byte_llama(4), secured_set(byte_llama(4), "bottom 1"))


def test_a_set_declared_in_other_words_is_the_same(made):
    _, folder, wanted = made
    model = byte_llama(3)
    assert torch.equal(logits(adapter.load(folder, model, secured_set(model, "layers 0"))), wanted)


def test_what_is_missing_or_damaged_is_one_line(made):
    customer, folder, _ = made
    model, secured = byte_llama(3), customer.secured
    weights = bytearray((folder / adapter.WEIGHTS).read_bytes())
    weights[-1] ^= 1
    (folder / adapter.WEIGHTS).write_bytes(bytes(weights))
    with pytest.raises(StudyError, match="adapter_model.safetensors: not the file that was saved"):
        adapter.load(folder, model, secured)
    (folder / adapter.MADE_FOR).unlink()
    with pytest.raises(StudyError, match=r"solid.json: missing; make it again"):
        adapter.load(folder, model, secured)


def sign(folder):
    """Make solid.json name the files as they are now."""
    made_for = json.loads((folder / adapter.MADE_FOR).read_text())
    made_for["files"] = {name: files.sha256(folder / name) for name in (adapter.CONFIG, adapter.WEIGHTS)}
    (folder / adapter.MADE_FOR).write_text(json.dumps(made_for))


def test_what_peft_would_load_without_a_word_is_refused(made):
    """A larger scale, half of the tensors, no list of files at all: each answers otherwise."""
    customer, folder, _ = made
    saved = {path: path.read_bytes() for path in folder.iterdir()}
    config = json.loads((folder / adapter.CONFIG).read_text())
    (folder / adapter.CONFIG).write_text(json.dumps(config | {"lora_alpha": 100 * config["lora_alpha"]}))
    with pytest.raises(StudyError, match="adapter_config.json: not the file that was saved, by its sha256 in solid"):
        adapter.load(folder, byte_llama(3), customer.secured)
    (folder / adapter.CONFIG).write_bytes(saved[folder / adapter.CONFIG])
    weights = tensors.load(folder / adapter.WEIGHTS)
    tensors.save(dict(list(weights.items())[::2]), folder / adapter.WEIGHTS)
    with pytest.raises(StudyError, match="adapter_model.safetensors: not the file that was saved"):
        adapter.load(folder, byte_llama(3), customer.secured)
    (folder / adapter.WEIGHTS).write_bytes(saved[folder / adapter.WEIGHTS])
    made_for = json.loads(saved[folder / adapter.MADE_FOR])
    (folder / adapter.MADE_FOR).write_text(json.dumps({key: made_for[key] for key in made_for if key != "files"}))
    with pytest.raises(StudyError, match="not the file that was saved"):
        adapter.load(folder, byte_llama(3), customer.secured)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (None, "adapter_config.json: no JSON"),
        ({"r": 7}, "adapter_config.json: peft refuses it"),
        ({"target_modules": ["no_such_matrix"]}, "adapter_config.json: peft refuses it"),
        ({"peft_type": "TELEPATHY"}, "adapter_config.json: peft refuses it"),
    ],
)
def test_a_config_that_peft_cannot_use_is_one_line(made, change, said):
    customer, folder, _ = made
    config = json.loads((folder / adapter.CONFIG).read_text())
    (folder / adapter.CONFIG).write_text("{" if change is None else json.dumps(config | change))
    sign(folder)
    with pytest.raises(StudyError, match=said) as raised:
        adapter.load(folder, byte_llama(3), customer.secured)
    assert "\n" not in str(raised.value)


def test_an_adapter_that_stands_on_a_secured_tensor_is_refused(made):
    customer, folder, _ = made
    said = json.loads((folder / adapter.CONFIG).read_text())
    (folder / adapter.CONFIG).write_text(json.dumps(said | {"target_modules": ["q_proj"]}))
    weights = tensors.load(folder / adapter.WEIGHTS)
    kept = {name: part for name, part in weights.items() if ".q_proj." in name}
    extra = {name.replace("layers.1", "layers.0"): part.clone() for name, part in kept.items()}
    tensors.save(kept | extra, folder / adapter.WEIGHTS)
    sign(folder)
    with pytest.raises(StudyError, match=r"layers.0.self_attn.q_proj.weight: secured by 'bottom 1', and .*lora_A"):
        adapter.load(folder, byte_llama(3), customer.secured)


def test_a_finished_run_keeps_its_adapter_and_its_log(made, tmp_path, monkeypatch):
    customer, folder, _ = made
    monkeypatch.setattr("solid_utils.core.paths.CHECKPOINTS", tmp_path / "checkpoints")
    monkeypatch.setattr("solid_utils.core.paths.RUNS", tmp_path / "runs")
    (customer.state.folder / "history.json").write_text(json.dumps([{"step": 0}]))
    customer.state.discard = lambda: None
    monkeypatch.setattr(gsm8k, "shown", lambda run: [{"model": "before", "problems": 3}])
    customer.trained = 1
    at = customer.row(0)
    curve = [at | {"split": "validation", "metric": "cross_entropy", "value": 1.0}]
    customer.finish(customer._domain_scores(customer.victim).of(at), curve)
    kept = tmp_path / "checkpoints" / "tiny" / "customizations" / customer.run
    assert (kept / "training.json").exists()
    answers = json.loads((kept / "answers.json").read_text())
    assert [answer["id"] for answer in answers] == [sample["id"] for sample in customer.sets["test"]][: written.PROMPTS]
    assert json.loads((kept / "gsm8k.json").read_text())[0]["problems"] == 3
    assert {path.name for path in (kept / "adapter").iterdir()} == {path.name for path in folder.iterdir()}
