"""A model behind a socket says what the plain victim says, to the last bit; peft and Trainer take it as any other."""

import copy

import lm_eval
import peft
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

from solid_utils.core.errors import StudyError
from solid_utils.data.items import write_benchmarks
from solid_utils.deployment.secured import secured_set
from solid_utils.evaluation import evaluation
from solid_utils.evaluation.lean import LeanLM
from solid_utils.model.forward import LastLogits
from solid_utils.runtime import split
from solid_utils.runtime.client import SemiOpenForCausalLM
from solid_utils.runtime.manifest import Limits, Policy
from solid_utils.training import lora
from tests.conftest import CONFIGS, VOCABULARY, build, byte_llama
from tests.packaged import C4, MMLU, MORE_MMLU, write_raw
from tests.runtime.split_model import KEY, divided, saved
from tests.runtime.worlds import client, served

# One set for each architecture, all kinds in turn; several kinds for two of them.
KINDS = ["bottom 2", "layers 1-2", "top 1", "layers 0,2-3", "layer 1 o,down", "embeddings + head", "all"]
CASES = [(architecture, KINDS[number % len(KINDS)]) for number, architecture in enumerate(CONFIGS)]
CASES += [("llama", "head"), ("llama", "layers 1-3 + rest after layers"), ("gpt2", "layers 0 + embeddings")]
CASES += [("gemma2", "bottom 2"), ("mistral", "bottom 2")]


def batch(rows=3, tokens=9):
    """Token ids, and a mask that pads the first row on the left."""
    ids = torch.randint(1, VOCABULARY, (rows, tokens), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    return ids, mask


def as_frozen(plain, model):
    """Freeze what the client froze: torch multiplies by another path where a matrix may be trained."""
    theirs = dict(plain.named_parameters())
    for name, parameter in model.named_parameters():
        if name in theirs:
            theirs[name].requires_grad_(parameter.requires_grad)


def said(model, ids, mask, **options):
    """New tokens and the logits behind them."""
    how = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    how |= {"output_logits": True, "return_dict_in_generate": True}
    made = model.generate(ids, attention_mask=mask, **how | options)
    return made.sequences, torch.stack(made.logits)


@pytest.mark.parametrize(("architecture", "declaration"), CASES)
def test_logits_and_generation_are_the_plain_victims_to_the_last_bit(tmp_path, architecture, declaration):
    divided(tmp_path, architecture, declaration)
    ids, mask = batch()
    plain = build(architecture)
    with client(tmp_path / "halves") as model:
        as_frozen(plain, model)
        assert not set(secured_set(plain, declaration).names) & set(dict(model.named_parameters()))
        assert torch.equal(model(input_ids=ids).logits, plain(input_ids=ids).logits)
        for mine, theirs in zip(said(model, ids, mask), said(plain, ids, mask), strict=True):
            assert torch.equal(mine, theirs)


@pytest.mark.parametrize(("architecture", "declaration"), [("llama", "bottom 2"), ("gpt2", "all")])
def test_beams_and_cut_caches_find_their_keys_again(tmp_path, architecture, declaration):
    divided(tmp_path, architecture, declaration)
    ids, mask = batch()
    plain = build(architecture)
    with client(tmp_path / "halves") as model:
        as_frozen(plain, model)
        beams = [said(one, ids, mask, num_beams=3)[0] for one in (model, plain)]
        assert torch.equal(*beams)
        found = []
        for one in (model, plain):
            cache = one(input_ids=ids, use_cache=True).past_key_values
            cache.batch_select_indices(torch.tensor([2, 0]))
            cache.crop(-4)
            more = one(input_ids=ids[:2, :3], past_key_values=cache, use_cache=True)
            found.append(one(input_ids=ids[:2, 3:5], past_key_values=more.past_key_values, use_cache=True).logits)
        assert torch.equal(*found)


def test_bfloat16_models_and_copies_work(tmp_path):
    split.split(saved(tmp_path, "llama", torch.bfloat16), "layers 0-3 + rest after layers", tmp_path / "halves", KEY)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.bfloat16)
    ids = torch.arange(1, 97).repeat(2, 4)[:, :300]  # places beyond what one digit of bfloat16 holds
    with client(tmp_path / "halves") as model:
        twin = copy.deepcopy(model)
        assert torch.equal(twin(input_ids=ids).logits, plain(input_ids=ids).logits)


def losses(model, samples, folder, callbacks=None, resume=False):
    """Trainer's loss of each step, LoRA on the open matrices."""
    torch.manual_seed(0)
    secured = secured_set(build("llama"), "layers 0")
    names = [name for name in lora.open_matrices(build("llama"), secured)]
    config = peft.LoraConfig(r=2, target_modules=names, task_type="CAUSAL_LM", init_lora_weights="gaussian")
    adapted = peft.get_peft_model(model, config)
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=4, per_device_train_batch_size=2, learning_rate=1e-2, logging_steps=1,
        save_steps=2, report_to=[], use_cpu=True, disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = Trainer(adapted, arguments, train_dataset=samples, callbacks=callbacks)
    trainer.train(resume_from_checkpoint=resume)
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


@pytest.mark.parametrize("declaration", ["layers 0", "top 1 + rest after layers"])
def test_the_studys_own_measurements_take_it_as_any_other(tmp_path, declaration, tokenizer):
    """Logits where they are wanted, shared prefixes, and lm-eval's requests (evaluation/)."""
    byte_llama(5).save_pretrained(tmp_path / "model")
    split.split(tmp_path / "model", declaration, tmp_path / "halves", KEY)
    plain = byte_llama(5)
    prefix = list(range(20, 60))
    rows = sorted(tuple(prefix + [ending, ending + 1]) for ending in (3, 7, 9)) + [(70, 71, 72)]
    pairs = [("Name a colour.", " Blue"), ("Name a colour.", " red"), ("What is 2 + 2?", " 4")]
    asked = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]
    settings = {"until": ["\n"], "max_gen_toks": 6, "do_sample": False}
    written = [Instance("generate_until", {}, (text, settings), 0) for text in ("Name a colour. ", "Say it twice")]
    with client(tmp_path / "halves") as model, torch.no_grad():
        mine, theirs = (dict(LastLogits(one, rows, [2] * 3 + [1], 0, 512)) for one in (model, plain))
        assert all(torch.allclose(mine[row], theirs[row], atol=1e-5) for row in range(len(rows)))
        one, other = LeanLM(model, tokenizer), LeanLM(plain, tokenizer)
        for found, wanted in zip(one.loglikelihood(asked), other.loglikelihood(asked), strict=True):
            assert found == pytest.approx(wanted, rel=1e-4)
        assert one.generate_until(written) == other.generate_until(written)


def test_lm_evals_own_model_takes_it_as_any_other(tmp_path, tokenizer):
    """HFLM: answers that are scored, and answers that are written."""
    write_benchmarks(write_raw(tmp_path), tmp_path / "items", MMLU, MORE_MMLU, C4)
    tasks = {name: evaluation._task(name, tmp_path / "items") for name in ("hellaswag", "capitals", "sums_1digit")}
    byte_llama(1, positions=4096).save_pretrained(tmp_path / "model")
    split.split(tmp_path / "model", "layers 0", tmp_path / "halves", KEY)
    with client(tmp_path / "halves") as model:
        found = [
            lm_eval.evaluate(HFLM(pretrained=one, tokenizer=tokenizer, device="cpu"), {"tasks": tasks}, limit=4)
            for one in (model, byte_llama(1, positions=4096))
        ]
        assert model.secure.counts()["tokens"] > 100
    mine, theirs = (one["results"] for one in found)
    assert set(mine) == set(tasks) and mine == theirs
    assert all(mine[name]["sample_len"] == 4 for name in tasks)


class Cut(TrainerCallback):
    """The secure world goes in the middle of a training."""

    def on_step_end(self, args, state, control, model, **_):
        if state.global_step == 3:
            model.get_base_model().secure.connection.shutdown(2)


def test_training_goes_on_from_its_checkpoint_when_the_secure_world_is_back(tmp_path):
    divided(tmp_path, "llama", "layers 0")
    rows = torch.randint(1, VOCABULARY, (4, 8), generator=torch.Generator().manual_seed(4))
    samples = [{"input_ids": row, "attention_mask": torch.ones(8).long(), "labels": row} for row in rows]
    with client(tmp_path / "halves") as model:
        plain = losses(copy.deepcopy(model), samples, tmp_path / "plain")
        with pytest.raises(StudyError, match="secure world is gone"):
            losses(copy.deepcopy(model), samples, tmp_path / "cut", callbacks=[Cut()])
        model.secure.open()
        assert losses(copy.deepcopy(model), samples, tmp_path / "cut", resume=True) == plain


def test_lora_through_the_client_is_lora_in_one_process(tmp_path):
    divided(tmp_path, "llama", "layers 0")
    rows = torch.randint(1, VOCABULARY, (4, 8), generator=torch.Generator().manual_seed(4))
    samples = [{"input_ids": row, "attention_mask": torch.ones(8).long(), "labels": row} for row in rows]
    plain = losses(build("llama"), samples, tmp_path)
    assert plain[-1] < plain[0]
    # What a bottom set says of a text never changes, so it need not be asked in each of two epochs.
    for remember, epochs in ((0, 2), (10**6, 1)):
        with client(tmp_path / "halves", remember=remember) as model:
            assert losses(model, samples, tmp_path) == pytest.approx(plain, rel=1e-5)
            assert model.secure.counts() == {"tokens": epochs * 32, "sequences": epochs * 4, "gradients": 0}


def test_gradients_go_through_the_middle_where_they_are_allowed(tmp_path):
    ids, _ = batch()
    for allowed in (True, False):
        folder = tmp_path / str(allowed)
        folder.mkdir()
        divided(folder, "llama", "layers 1-2", Policy(gradients=allowed))
        with client(folder / "halves") as model:
            assert model.model.embed_tokens.weight.requires_grad == allowed  # frozen where none would come back
            model.requires_grad_(True)
            loss = model(input_ids=ids, labels=ids).loss
            if not allowed:
                with pytest.raises(StudyError, match="gradients: the vendor does not allow them"):
                    loss.backward()
                continue
            loss.backward()
            assert model.secure.counts()["gradients"] == ids.numel()
            plain = build("llama")
            plain(input_ids=ids, labels=ids).loss.backward()
            theirs = dict(plain.named_parameters())
            for name, parameter in model.named_parameters():
                assert torch.allclose(parameter.grad, theirs[name].grad, rtol=1e-5, atol=1e-7), name


def test_a_set_that_shows_only_logits_gives_no_gradient(tmp_path):
    divided(tmp_path, "llama", "top 1 + rest after layers", Policy(gradients=True))
    ids, _ = batch()
    with client(tmp_path / "halves") as model, pytest.raises(StudyError, match="none go through a head"):
        model(input_ids=ids, labels=ids).loss.backward()


def test_limits_are_kept_and_a_restart_does_not_refill_them(tmp_path):
    divided(tmp_path, "llama", "layers 0", Policy(limits=Limits(tokens_day=40, sessions=1, row_tokens=12)))
    ids, _ = batch(2, 9)
    with served(tmp_path / "halves") as (place, _, lines):
        model = SemiOpenForCausalLM.from_pretrained(tmp_path / "halves/open", socket=place)
        with pytest.raises(StudyError, match="limit: 1 sessions at a time"):
            SemiOpenForCausalLM.from_pretrained(tmp_path / "halves/open", socket=place)
        with pytest.raises(StudyError, match="rows of 12 tokens at a time"):
            model(input_ids=torch.ones(1, 13).long())
        model(input_ids=ids)
        model(input_ids=ids)
        with pytest.raises(StudyError, match="limit: 40 tokens a day"):
            model(input_ids=ids)
        model.secure.close()
        assert "\n" not in "".join(lines)
    with client(tmp_path / "halves") as model, pytest.raises(StudyError, match="limit: 40 tokens a day"):
        model(input_ids=ids)


def test_a_secure_world_that_is_gone_is_one_error_and_opens_again(tmp_path):
    divided(tmp_path, "llama", "layers 0")
    ids, _ = batch()
    with served(tmp_path / "halves") as (place, server, _):
        model = SemiOpenForCausalLM.from_pretrained(tmp_path / "halves/open", socket=place)
        before = model(input_ids=ids, use_cache=True)
        model.secure.connection.shutdown(2)
        for _ in range(2):
            with pytest.raises(StudyError, match="the secure world is gone .*secure.open()"):
                model(input_ids=ids)
        model.secure.open()
        assert torch.equal(model(input_ids=ids).logits, before.logits)
        with pytest.raises(StudyError, match="not held any more"):
            model(input_ids=ids[:, :1], past_key_values=before.past_key_values, use_cache=True)
    with pytest.raises(StudyError, match="no secure world answers"):
        SemiOpenForCausalLM.from_pretrained(tmp_path / "halves/open", socket=place)


def test_what_a_saved_client_holds_is_the_open_part(tmp_path):
    made = divided(tmp_path, "llama", "layers 0")
    with client(tmp_path / "halves") as model:
        model.save_pretrained(tmp_path / "tuned")
    assert set(load_file(tmp_path / "tuned/model.safetensors")) == set(dict(build("llama").named_parameters())) - set(
        made.names
    )
