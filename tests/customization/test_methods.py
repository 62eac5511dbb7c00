"""Methods by name: what each trains, what it makes of the victim, and what it refuses."""

import copy
import importlib.util
import sys
from types import SimpleNamespace

import peft
import pytest
import torch

from solid_utils.core.errors import StudyError
from solid_utils.customization import preference
from solid_utils.customization.declared import declared
from solid_utils.customization.declared import method as of_run
from solid_utils.customization.methods import METHODS, qlora, simpo
from solid_utils.deployment.secured import secured_set
from solid_utils.model import accelerator
from solid_utils.settings import params
from solid_utils.settings.customization_params import CustomizationBudget
from solid_utils.training import lora
from tests.conftest import build, byte_llama
from tests.customization.runs import ADAPTERS, RECIPE, method, run

HAS_BNB = importlib.util.find_spec("bitsandbytes") is not None
needs_bnb = pytest.mark.skipif(not HAS_BNB, reason="QLoRA needs the extra qlora (bitsandbytes), which is not installed")
OPTIONS = {"lora": ADAPTERS, "full": {}, "qlora": ADAPTERS, "simpo": ADAPTERS}


def plain_names(names):
    return {name.removeprefix("base_model.model.").partition(".lora_")[0] for name in names}


def test_every_method_is_chosen_by_its_name():
    assert {type(method(name, **options)) for name, options in OPTIONS.items()} == set(METHODS)


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ({"method": "lorra"}, "here.method: unknown name 'lorra'; choose one of full, lora, qlora, simpo"),
        ({"method": "lora", "rank": 2}, "rank and alpha"),
        ({"method": "lora", "rnak": 2} | ADAPTERS, "here: rnak: Extra inputs are not permitted"),
        ({"method": "full"} | ADAPTERS, "here: rank: is of adapters, and method: full has none; leave it out"),
        ({"method": "full", "dropout": 0.1}, "here: dropout: is of adapters"),
        ({"method": "full", "length": 5}, "here: length: is an attack's; leave it out"),
        ({"method": "simpo", "rank": 2}, "here: rank and alpha go together"),
        ({"method": "simpo", "beta": 0}, "here: beta: Input should be greater than 0"),
        ({"method": "lora", "experts": True, "dropout": 0.1} | ADAPTERS, "peft has no dropout for stacked experts"),
        (
            {"method": "simpo", "cache": 0.5},
            "here: cache: method: simpo trains on pairs and keeps no states; leave it out",
        ),
        ({"method": "qlora", "experts": True} | ADAPTERS, "experts: method: qlora rounds linear modules, no stacks"),
    ],
)
def test_what_does_not_fit_is_one_line(said, wrong):
    with pytest.raises((StudyError, ValueError)) as error:
        declared(CustomizationBudget.model_validate(RECIPE | said), "here")
    assert wrong in str(error.value)


def test_the_papers_recipes():
    """Table 9 and B.6."""
    study = params.load().model_copy(update={"tier": "paper"})
    found = {
        name: of_run(study, name, "solid-math") for name in ("llama2-70b-chat", "llama2-7b-chat", "mistral-7b", "phi-2")
    }
    said = {
        name: (one.method, one.rank, one.alpha, one.dropout, one.learning_rate, one.epochs)
        for name, one in found.items()
    }
    assert said == {
        "llama2-70b-chat": ("qlora", 96, 16, 0.05, 1.5e-4, 1),
        "llama2-7b-chat": ("lora", 32, 64, 0.05, 2e-5, 3),
        "mistral-7b": ("lora", 32, 64, 0.05, 1e-6, 3),
        "phi-2": ("full", None, None, 0.0, 2e-5, 3),
    }
    assert {(one.batch, one.weight_decay, one.warmup, one.schedule) for one in found.values()} == {
        (128, 0.1, 0.03, "cosine")
    }
    assert (method("simpo").beta, method("simpo").gamma) == (2, 1)


@pytest.mark.parametrize("architecture", ["llama-tied", "gpt2", "mixtral"])
@pytest.mark.parametrize("declaration", ["none", "bottom 1", "layers 1-2", "top 1"])
def test_what_is_trained_is_open(architecture, declaration):
    model = build(architecture)
    secured = secured_set(model, declaration)
    parameters = {name for name, _ in model.named_parameters()}
    _, names = method("full", below="trained").adapted(model, secured)
    assert names == parameters - set(secured.names)
    _, names = method("lora", **ADAPTERS).adapted(model, secured)
    matrices = {f"{name}.weight" for name in plain_names(names)}
    assert matrices and matrices <= parameters - set(secured.names)


def test_below_a_bottom_set_nothing_is_trained_unless_asked_for(llama):
    embeddings = "model.embed_tokens.weight"
    for declaration, frozen in (("bottom 1", True), ("layer 0 q", True), ("layers 1-2", False), ("none", False)):
        _, names = method("full").adapted(llama, secured_set(llama, declaration))
        assert (embeddings not in names) == frozen, declaration
    tied = build("llama-tied")
    _, names = method("full").adapted(tied, secured_set(tied, "bottom 1"))
    assert embeddings not in names  # the head is the same tensor


def test_where_nothing_is_open_a_method_says_so(llama):
    everything = secured_set(llama, "all")
    for name in ("lora", "full", "simpo"):
        with pytest.raises(StudyError, match="leaves (no decoder layer|nothing) open"):
            method(name, **OPTIONS[name]).adapted(llama, everything)


def test_targets_are_open_modules(llama):
    secured = secured_set(llama, "bottom 1")
    _, names = method("lora", targets=["layers.2.mlp.up_proj"], **ADAPTERS).adapted(copy.deepcopy(llama), secured)
    assert plain_names(names) == {"model.layers.2.mlp.up_proj"}
    for targets, wrong in (
        (["q_proj"], "targets: 'q_proj' fits model.layers.0.self_attn.q_proj, which 'bottom 1' secures"),
        (["qproj"], "targets: 'qproj' fits no linear module"),
    ):
        with pytest.raises(StudyError, match=wrong):
            method("lora", targets=targets, **ADAPTERS).adapted(llama, secured)


def test_stacked_experts_are_adapted_where_asked_for():
    model = build("mixtral")
    secured, ids = secured_set(model, "bottom 1"), torch.tensor([[1, 2, 3, 4]])
    chosen = method("lora", experts=True, **ADAPTERS)
    assert "reaches 100.0%" not in method("lora", **ADAPTERS).reach(model, secured)
    assert "reaches 100.0%" in chosen.reach(model, secured) or "gate" in chosen.reach(model, secured)
    adapted, names = chosen.adapted(copy.deepcopy(model), secured)
    assert any("experts" in name for name in names) and not any(".layers.0." in name for name in names)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
        wanted = adapted(input_ids=ids).logits
        merged = adapted.merge_and_unload()
        torch.testing.assert_close(merged(input_ids=ids).logits, wanted, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(model(input_ids=ids).logits, wanted, atol=1e-2)


def test_several_adapters_on_stacks_of_experts_name_the_same_ones():
    """As docs/customization.md says of the pinned peft."""
    model, ids = build("mixtral"), torch.tensor([[1, 2, 3, 4]])
    stacks = lora.open_stacks(model, secured_set(model, "bottom 1"))
    said = {"r": 2, "lora_alpha": 4, "target_modules": [], "task_type": "CAUSAL_LM", "init_lora_weights": False}
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_parameters=stacks, **said))
    adapted.add_adapter("two", peft.LoraConfig(target_parameters=stacks, **said))
    with pytest.raises(ValueError, match="must target the same set of parameters"):
        adapted.add_adapter("three", peft.LoraConfig(target_parameters=stacks[:1], **said))
    with torch.no_grad():
        adapted.base_model.set_adapter(["default", "two"])
        wanted = adapted(input_ids=ids).logits
        merged = adapted.merge_and_unload(adapter_names=["default", "two"])
        torch.testing.assert_close(merged(input_ids=ids).logits, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("name", "module"), [("qlora", "bitsandbytes"), ("simpo", "trl")])
def test_a_missing_extra_is_one_line(name, module, monkeypatch):
    for loaded in [one for one in sys.modules if one.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(StudyError, match=rf"method: {name}: needs {module}.*run `pip install -e .\[{name}\]`"):
        method(name, **OPTIONS[name]).check_installed()


def test_simpo_is_the_papers_loss_on_plain_log_likelihoods(tokenizer, tmp_path):
    """The first step's loss, and the gradient's step, against the formula written down (Meng et al., equation 6)."""
    recipe = method("simpo", steps=1, batch=6, validate_every=1, **ADAPTERS)
    customer = run(tmp_path, byte_llama(3), tokenizer, "bottom 1", recipe)
    margins = torch.from_numpy(preference.margins(customer.victim, customer.sets["train"], tokenizer.pad_token_id))
    wanted = -torch.nn.functional.logsigmoid(2 * margins - 1).mean()
    history = customer._trained_model()
    assert history[-1]["loss"] == pytest.approx(wanted.item(), rel=1e-4)
    assert history[-1]["validation_margin"] > history[0]["validation_margin"]


def test_simpo_in_pieces_is_simpo_at_once(tokenizer, tmp_path):
    ends = []
    for tokens in (None, 2 * 48):
        recipe = method("simpo", steps=2, batch=4, validate_every=2, device_tokens=tokens)
        customer = run(tmp_path / str(tokens), byte_llama(3), tokenizer, "bottom 1", recipe)
        ends.append(customer._trained_model()[-1]["validation_margin"])
        assert simpo.piece(recipe, 48) == (4 if tokens is None else 2)
    assert ends[0] == pytest.approx(ends[1], rel=1e-3)


def test_simpo_says_what_it_needs_before_it_begins(tokenizer, tmp_path, monkeypatch, capsys):
    customer = run(tmp_path, byte_llama(3), tokenizer, "bottom 1", method("simpo", steps=1, batch=4, **ADAPTERS))
    monkeypatch.setattr(accelerator.psutil, "virtual_memory", lambda: SimpleNamespace(available=10**6))
    with pytest.raises(StudyError, match=r"training needs about .* GB available"):
        customer._trained_model()
    assert "logits of one piece" in capsys.readouterr().out


def test_pairs_that_do_not_fit_are_refused(tokenizer):
    items = [{"id": "a", "source": "x", "prompt": "p" * 60, "chosen": "1", "rejected": "2"}]
    with pytest.raises(StudyError, match="pairs set: 1 pairs asked, 0 of 1 fit 48 tokens"):
        preference.pairs("pairs", tokenizer, 48, 1, items)
    with pytest.raises(StudyError, match="pairs set: item a: no rejected; SimPO trains on pairs"):
        preference.pairs("pairs", tokenizer, 48, 1, [{"id": "a", "prompt": "p", "chosen": "1"}])


def test_no_rounded_module_may_be_repacked(monkeypatch):
    """Without bitsandbytes: a stand-in that would repack on a CPU with bfloat16 units, as its modules do."""

    class Linear4bit(torch.nn.Linear):
        def __init__(self, inputs, outputs, bias, **_):
            super().__init__(inputs, outputs, bias)
            self.support_avx512bf16_for_cpu = True

    kinds = SimpleNamespace(Linear4bit=Linear4bit, Params4bit=lambda data, **_: torch.nn.Parameter(data))
    monkeypatch.setattr(qlora, "bitsandbytes", lambda: SimpleNamespace(nn=kinds))
    victim = byte_llama(3)
    qlora.quantise(victim, lora.open_matrices(victim, secured_set(victim, "bottom 1")))
    rounded = [module for module in victim.modules() if isinstance(module, Linear4bit)]
    assert len(rounded) == 7 and not any(module.support_avx512bf16_for_cpu for module in rounded)


@needs_bnb
def test_qlora_multiplies_with_the_same_values_on_every_cpu(tokenizer, tmp_path, monkeypatch):
    modules = importlib.import_module("bitsandbytes.nn.modules")
    monkeypatch.setattr(modules, "has_avx512bf16", lambda: True)  # as on a CPU with bfloat16 units
    victim = byte_llama(2)
    customer = run(tmp_path, victim, tokenizer, "bottom 1", method("qlora", **ADAPTERS))
    model, _ = customer.recipe.adapted(copy.deepcopy(victim), customer.secured)
    rounded = [module for module in model.modules() if isinstance(module, modules.Linear4bit)]
    before = [qlora.values(module) for module in rounded]
    with torch.no_grad():
        model.eval()(input_ids=torch.tensor([[1, 2, 3, 4]]))
    assert all(torch.equal(value, qlora.values(module)) for value, module in zip(before, rounded, strict=True))


@needs_bnb
def test_qlora_rounds_what_is_open_and_leaves_the_secret_alone(tokenizer, tmp_path):
    victim = byte_llama(3)
    customer = run(tmp_path, victim, tokenizer, "bottom 1", method("qlora", **ADAPTERS))
    model, names = customer.recipe.adapted(copy.deepcopy(victim), customer.secured)
    rounded = [name for name, module in model.named_modules() if isinstance(module, qlora.bitsandbytes().nn.Linear4bit)]
    assert len([name for name in rounded if ".layers.1." in name]) == 7 and not any(
        ".layers.0." in name for name in rounded
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    ids = torch.tensor([[1, 2, 3, 4]])
    merged = customer.recipe.merged(model, customer)
    with torch.no_grad():
        torch.testing.assert_close(merged(input_ids=ids).logits, model(input_ids=ids).logits, atol=1e-4, rtol=1e-4)
    history = customer._trained_model()
    assert history[-1]["validation_cross_entropy"] < history[0]["validation_cross_entropy"]
    with pytest.raises(StudyError, match="is a Conv1D, no nn.Linear; set method: lora"):
        gpt2 = build("gpt2")
        customer.recipe.adapted(gpt2, secured_set(gpt2, "bottom 1"))
