"""Every deployment: what a customer trains from kept states, under noise, or not at all."""

import copy
import shutil

import pytest
import torch

from solid_utils.core.errors import StudyError
from solid_utils.customization import boundary, noise
from solid_utils.deployment.secured import secured_set
from solid_utils.model import tensors
from solid_utils.model.structure import decoder_layers
from solid_utils.training import lora
from tests.cases import architectures
from tests.conftest import byte_llama
from tests.customization.runs import ADAPTERS, method, run


def kept(customer) -> dict[str, torch.Tensor]:
    """The customized model's changed tensors after training."""
    customer._trained_model()
    return tensors.load(customer.state.folder / "customized.safetensors")


@pytest.mark.parametrize(
    ("declaration", "name"), [("solid", "lora"), ("darknetz", "full"), ("layers 0 q,k", "full"), ("fully_open", "lora")]
)
def test_only_what_is_open_changes(declaration, name, tokenizer, tmp_path):
    options = ADAPTERS | {"dropout": 0.1} if name == "lora" else {}
    customer = run(tmp_path, byte_llama(3), tokenizer, declaration, method(name, steps=1, **options))
    changed = kept(customer)
    assert changed and not set(changed) & set(customer.secured.names)


@pytest.mark.parametrize(("name", "options"), [("lora", ADAPTERS), ("full", {})])
def test_training_from_kept_states_is_training_from_token_ids(name, options, tokenizer, tmp_path):
    plain = kept(run(tmp_path / "plain", byte_llama(3), tokenizer, "bottom 1", method(name, **options)))
    customer = run(tmp_path / "kept", byte_llama(3), tokenizer, "bottom 1", method(name, cache=0.5, **options))
    found = kept(customer)
    assert list((customer.state.folder / "boundary").iterdir())
    assert set(found) == set(plain)
    for tensor in plain:  # in bfloat16: steps of AdamW make the last bits of a state visible
        torch.testing.assert_close(found[tensor].float(), plain[tensor].float(), atol=4e-3, rtol=2e-2)


def test_how_much_the_disk_holds_changes_no_bit(tokenizer, tmp_path, monkeypatch, capsys):
    ends, texts, states = {}, set(), boundary.Boundary.states
    monkeypatch.setattr(boundary.Boundary, "states", lambda self, ids: texts.add(len(ids)) or states(self, ids))
    for room in (0, 4):
        monkeypatch.setattr(boundary, "fits", lambda sizes, _, room=room: min(room, len(sizes)))
        chosen = method("lora", cache=0.5, **ADAPTERS)
        ends[room] = kept(run(tmp_path / str(room), byte_llama(3), tokenizer, "bottom 1", chosen))
        assert f"{room} are kept" in capsys.readouterr().out
    assert all(torch.equal(ends[0][name], ends[4][name]) for name in ends[0])
    assert texts == {1}  # larger models round otherwise in a batch


def test_states_that_a_killed_run_left_need_no_disk_again(tmp_path, monkeypatch, capsys):
    """What they take is not free any more; asked for twice, a resumed run would be refused by its own states."""
    samples = [{"input_ids": [5, 9, 33, 40 + number], "answer_start": 1} for number in range(6)]
    chosen = byte_llama(3), 0, samples, tmp_path
    disk = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk._replace(free=10**6))
    first = boundary.Boundary(*chosen, share=1.0, pad_id=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk._replace(free=100))
    again = boundary.Boundary(*chosen, share=1.0, pad_id=0)
    assert "6 are kept" in capsys.readouterr().out.splitlines()[-2]
    assert again.recorded.place.keys() == first.recorded.place.keys()


def test_so_many_states_are_kept_as_fit():
    assert [boundary.fits([2, 3, 4], room) for room in (1, 2, 4.9, 5, 8, 9)] == [0, 1, 1, 2, 2, 3]


def test_the_layers_below_do_no_work(tokenizer, tmp_path):
    model, calls = byte_llama(3), []
    customer = run(tmp_path, model, tokenizer, "bottom 1", method("lora", cache=0.5, steps=2, **ADAPTERS))
    adapted, names = customer.recipe.adapted(model, customer.secured)
    layer = decoder_layers(adapted.get_base_model())[1][0]
    layer.mlp.register_forward_hook(lambda *_: calls.append(1))
    samples = customer.sets["train"]
    states = boundary.Boundary(adapted.get_base_model(), 0, samples, tmp_path / "states", 0.5, 0)
    calls.clear()
    ids = torch.tensor([samples[1]["input_ids"]])
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "number": torch.tensor([1])}
    with torch.no_grad():
        with states.begun(batch):
            begun = adapted(input_ids=ids).logits
        assert not calls
        torch.testing.assert_close(begun, adapted(input_ids=ids).logits)


@pytest.mark.parametrize(("declaration", "last"), [("none", -1), ("bottom 2", 1), ("layers 1-2", -1), ("top 1", -1)])
def test_the_frontier_is_where_training_begins(declaration, last, llama):
    secured = secured_set(llama, declaration)
    adapted, names = lora.wrapped(copy.deepcopy(llama), secured, method("lora", **ADAPTERS))
    inside = {name.removeprefix(lora.PREFIX) for name in names}
    assert boundary.frontier(adapted.get_base_model(), inside) == last
    assert boundary.frontier(llama, method("full").adapted(llama, secured)[1]) == last


@pytest.mark.parametrize("name", ["full", "simpo"])
@pytest.mark.parametrize("declaration", ["bottom 1", "top 1"])
def test_what_is_trained_without_adapters_is_counted_beside_a_secured_set(name, declaration, tokenizer, tmp_path):
    """Where the embeddings stand is found by a forward, which a model without values cannot make."""
    domain = "alignment" if name == "simpo" else "math"
    customer = run(tmp_path, byte_llama(3), tokenizer, declaration, method(name), domain)
    before = sum(one.numel() for one in customer.victim.model.embed_tokens.parameters()) * (declaration == "bottom 1")
    assert customer._trained() == customer.secured.total - customer.secured.parameters - before


@pytest.mark.parametrize(("name", "options"), [("lora", ADAPTERS), ("full", {})])
@pytest.mark.parametrize(("declaration", "passed"), [("fully_open", 2), ("bottom 1", 1), ("top 1", 2)])
def test_no_backward_is_counted_below_what_is_trained(name, options, declaration, passed, tokenizer, tmp_path):
    """A model of two layers: 4 FLOPs a token and parameter that a gradient passes, 2 where there is a forward alone."""
    customer = run(tmp_path, byte_llama(3), tokenizer, declaration, method(name, **options))
    customer.trained = customer._trained()
    samples = customer.sets["train"]
    tokens = 2 * customer.recipe.batch * sum(len(sample["input_ids"]) for sample in samples) // len(samples)
    layer = sum(parameter.numel() for parameter in decoder_layers(customer.victim)[1][0].parameters())
    whole = 4 * customer.secured.total + 2 * customer.trained
    assert customer.flops(2) == tokens * (whole - 2 * layer * (2 - passed))


def test_states_cannot_be_kept_where_all_is_trained(tokenizer, tmp_path):
    for declaration in ("fully_open", "top 1"):
        customer = run(tmp_path, byte_llama(3), tokenizer, declaration, method("lora", cache=0.5, **ADAPTERS))
        with pytest.raises(StudyError, match="cache: nothing lies below what is trained"):
            customer._trained_model()


def test_states_are_not_all_that_some_layers_hand_on(tokenizer, tmp_path):
    """Upper layers of Gemma 4 read keys and values that lower ones wrote down."""
    options = architectures.RIGHT["gemma4_text"] | {"vocab_size": 257, "vocab_size_per_layer_input": 257}
    model = architectures.build("gemma4_text", options)
    customer = run(tmp_path, model, tokenizer, "bottom 1", method("lora", cache=0.5, **ADAPTERS))
    with pytest.raises(StudyError, match=r"cache: layers of Gemma4\w+ hand on more than their state.*leave cache out"):
        customer._trained_model()


def test_noise_is_laplace_in_training_alone(llama):
    ids = torch.arange(1, 60)[None]
    with torch.no_grad(), noise.in_training(llama, 0.5):
        plain = llama(input_ids=ids).logits
        llama.train()
        torch.manual_seed(0)
        drawn = torch.cat([llama(input_ids=ids).logits - plain for _ in range(6)]).flatten()
    assert abs(drawn.mean()) < 0.01
    assert drawn.abs().mean() == pytest.approx(0.5, rel=0.02)  # of Laplace(0, b) it is b,
    assert drawn.std() == pytest.approx(0.5 * 2**0.5, rel=0.03)  # and the deviation b times the root of 2
    with torch.no_grad():
        torch.testing.assert_close(llama(input_ids=ids).logits, plain)  # gone at the end


def test_sap_dp_trains_under_noise_and_sap_without(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr("solid_utils.settings.grammar.SAP_OPEN_LAYERS", 1)  # of two
    ends = {
        name: kept(run(tmp_path / name, byte_llama(3), tokenizer, name, method("lora", steps=1, **ADAPTERS)))
        for name in ("sap", "sap_dp")
    }
    assert set(ends["sap"]) == set(ends["sap_dp"])
    assert any(not torch.equal(ends["sap"][name], ends["sap_dp"][name]) for name in ends["sap"])


def test_fully_secured_is_the_untouched_model(tokenizer, tmp_path, capsys):
    customer = run(tmp_path, byte_llama(3), tokenizer, "fully_secured", method("lora", **ADAPTERS))
    customer.trained = customer._trained()
    assert customer.trained == customer.steps == 0
    assert "nothing is open, so nothing is trained" in capsys.readouterr().out
    assert [row["step"] for row in customer.train()] == [0]
    assert not customer.after().rows
    for name, parameter in customer.customized().named_parameters():
        assert torch.equal(parameter, customer.victim.get_parameter(name))
    assert customer.words == "math, none: nothing is open"


@pytest.mark.parametrize("declaration", ["bottom 1", "sap_dp"])
def test_a_killed_training_ends_at_the_same_numbers(declaration, tokenizer, tmp_path, monkeypatch):
    """With dropout and noise, which draw in every step; from kept states where there is a bottom part."""
    monkeypatch.setattr("solid_utils.settings.grammar.SAP_OPEN_LAYERS", 1)
    cache = 0.5 if declaration == "bottom 1" else 0.0

    def begun(folder):
        chosen = method("lora", cache=cache, steps=3, validate_every=1, dropout=0.1, **ADAPTERS)
        return run(tmp_path / folder, byte_llama(3), tokenizer, declaration, chosen)

    whole, killed, ended = begun("whole"), begun("cut"), begun("cut")
    wanted = kept(whole)
    validate, asked = killed.validate, []

    def die(model):
        asked.append(1)
        if len(asked) == 3:  # before the first step, after step 1, then dead
            raise KeyboardInterrupt
        return validate(model)

    killed.validate = die
    with pytest.raises(KeyboardInterrupt):
        killed._trained_model()
    found = kept(ended)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
