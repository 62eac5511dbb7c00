"""The door to a tokenizer: what it settles for the paper's six and their siblings, and what it refuses in one line."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from solid_utils.core.errors import StudyError
from solid_utils.model import sampling
from solid_utils.model import tokenizer as door
from solid_utils.model.generation import generate
from solid_utils.model.structure import positions
from tests.cases import tokenizers
from tests.conftest import build

PROMPT, ANSWER = "Name a colour. ", "Blue is one."


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """A folder for each habit, as it is shipped."""
    top = tmp_path_factory.mktemp("shipped")
    return {habit: tokenizers.write(top / habit, habit) for habit in tokenizers.HABITS}


@pytest.fixture
def copy(shipped, tmp_path):
    """A copy of one habit's folder, to be broken."""
    return lambda habit: Path(shutil.copytree(shipped[habit], tmp_path / habit))


def opened(folder: Path):
    """(settled tokenizer, model in step with it)"""
    model = AutoModelForCausalLM.from_pretrained(folder)
    return door.load(folder, model), model


def one(prompt: str = PROMPT, answer: str = ANSWER) -> dict:
    return {"id": "one", "source": "mine", "prompt": prompt, "answer": answer}


@pytest.mark.parametrize("habit", tokenizers.HABITS)
def test_a_sample_is_what_the_model_reads_and_says(shipped, habit):
    raw, (tokenizer, model) = AutoTokenizer.from_pretrained(shipped[habit]), opened(shipped[habit])
    assert raw.pad_token is None or habit == "opt-350m"
    (sample,) = sampling.encode([one()], tokenizer, 100)
    ids, start = sample["input_ids"], sample["answer_start"]
    begins = tokenizers.BEGINS[habit]
    assert ids[: len(begins)] == begins and ids[-1] == tokenizer.eos_token_id == model.generation_config.eos_token_id
    inside = ids[len(begins) : -1]
    assert not set(inside) & {*begins, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id}
    assert tokenizer.decode(inside) == PROMPT + ANSWER  # no space comes between
    assert ids[:start] == raw.encode(PROMPT), "the prompt alone, as an oracle is asked"
    assert tokenizer.pad_token_id == tokenizers.PADS[habit] == model.generation_config.pad_token_id
    assert model.config.pad_token_id == tokenizer.pad_token_id and not model.generation_config.do_sample
    assert tokenizer.model_max_length == (256 if habit == "opt-350m" else door.NO_LIMIT)


@pytest.mark.parametrize("habit", ["llama2-7b", "phi-1_5", "opt-350m"])
def test_what_is_saved_is_settled_once_more_to_the_same(shipped, tmp_path, habit):
    tokenizer, model = opened(shipped[habit])
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    plain = AutoTokenizer.from_pretrained(tmp_path)
    assert plain.pad_token_id == tokenizer.pad_token_id and plain.encode(PROMPT) == tokenizer.encode(PROMPT)
    again, loaded = opened(tmp_path)
    assert sampling.encode([one()], again, 100) == sampling.encode([one()], tokenizer, 100)
    assert loaded.generation_config.eos_token_id == tokenizer.eos_token_id


@pytest.mark.parametrize(("habit", "frame"), [("llama2-7b", ("<s>", "</s>")), ("phi-2", ("", "<|endoftext|>"))])
def test_an_appended_end_is_left_out_and_the_beginning_stays(copy, tmp_path, habit, frame):
    folder = copy(habit)
    expected = sampling.encode([one()], opened(folder)[0], 100)
    tokenizers.edit(folder, tokenizers.appends(*frame))
    assert AutoTokenizer.from_pretrained(folder).encode(PROMPT)[-1] in (0, 2), "it is appended"
    tokenizer, _ = opened(folder)
    assert sampling.encode([one()], tokenizer, 100) == expected
    tokenizer.save_pretrained(tmp_path / "saved")
    assert AutoTokenizer.from_pretrained(tmp_path / "saved").encode(PROMPT) == tokenizer.encode(PROMPT)


def test_nothing_is_cut_or_padded(copy):
    folder = copy("phi-2")
    expected = sampling.encode([one()], opened(folder)[0], 100)
    tokenizers.edit(folder, lambda one: (one.enable_truncation(4), one.enable_padding(length=64)))
    tokenizers.change(folder / "tokenizer_config.json", padding_side="left", truncation_side="left")
    tokenizer, _ = opened(folder)
    assert sampling.encode([one()], tokenizer, 100) == expected and tokenizer.padding_side == "right"
    assert json.loads(tokenizer.backend_tokenizer.to_str())["truncation"] is None


def test_a_space_that_the_tokenizer_puts_first_does_not_come_between(copy):
    folder = copy("phi-2")
    change = json.loads((folder / "tokenizer.json").read_text())
    change["pre_tokenizer"]["add_prefix_space"] = True
    (folder / "tokenizer.json").write_text(json.dumps(change))
    tokenizers.change(folder / "tokenizer_config.json", add_prefix_space=True, tokenizer_class="TokenizersBackend")
    tokenizer, _ = opened(folder)
    assert tokenizer.decode(tokenizer.encode("Blue")) == " Blue"
    (sample,) = sampling.encode([one()], tokenizer, 100)
    assert tokenizer.decode(sample["input_ids"][:-1]) == " " + PROMPT + ANSWER
    assert door.spaces_first(tokenizer)
    assert door.going_on(tokenizer, " Blue", True) != door.going_on(tokenizer, "Blue", True)


def test_a_beginning_that_the_text_brings_along_stands_once(shipped):
    tokenizer, _ = opened(shipped["llama2-7b"])
    assert door.begun(tokenizer, "<s>[INST] Name a colour.").count(1) == 1
    assert door.begun(tokenizer, "Name a colour.").count(1) == 1


def test_the_tokenizers_end_joins_the_models_own(copy):
    folder = copy("llama2-7b")
    tokenizers.change(folder / "generation_config.json", eos_token_id=[5, 6], repetition_penalty=1.3)
    settings = opened(folder)[1].generation_config
    assert settings.eos_token_id == [5, 6, 2] and settings.repetition_penalty in (None, 1.0)


def test_padding_by_the_end_token_leaves_its_row_trainable(copy):
    folder = copy("phi-2")
    tokenizers.change(folder / "config.json", pad_token_id=0)
    _, model = opened(folder)
    model(input_ids=torch.tensor([[0, 5, 6]])).logits.sum().backward()
    assert model.get_input_embeddings().weight.grad[0].abs().sum() > 0


def broken_json(folder):
    (folder / "tokenizer.json").write_text('{"version": "1.0", "model": {')


def missing(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()


def code_of_its_own(folder):
    tokenizers.change(
        folder / "tokenizer_config.json",
        tokenizer_class="MineTokenizer",
        auto_map={"AutoTokenizer": ["mine.MineTokenizer", None]},
    )
    (folder / "mine.py").write_text("raise SystemExit('this ran')")


def only_sentencepiece(folder):
    missing(folder)
    (folder / "tokenizer.model").write_bytes(b"\x0a\x0e\x0a\x05<unk>")


def no_end(folder):
    tokenizers.change(folder / "tokenizer_config.json", eos_token=None, tokenizer_class="TokenizersBackend")


def unknown_end(folder):
    tokenizers.change(folder / "config.json", vocab_size=380)
    tokenizers.change(folder / "tokenizer_config.json", eos_token="<nobody>")


def unknown_padding(folder):
    tokenizers.change(folder / "tokenizer_config.json", pad_token="[PAD]")


def foreign_end(folder):
    tokenizers.change(folder / "generation_config.json", eos_token_id=[2, 32000])


@pytest.mark.parametrize(
    ("damage", "rows", "message"),
    [
        (broken_json, 400, "tokenizer cannot be read"),
        (missing, 400, "no tokenizer there; save the model's own"),
        (code_of_its_own, 400, "tokenizer cannot be read .* needs no code of its own"),
        (only_sentencepiece, 400, "tokenizer cannot be read"),
        (no_end, 400, "the tokenizer has no end-of-sequence token; set eos_token"),
        (unknown_end, 380, "eos_token '<nobody>' is token 380, outside of the model's 380"),
        (unknown_padding, 380, r"pad_token '\[PAD\]' is token 380, outside of the model's 380; .* the end token pads"),
        (foreign_end, 400, "eos_token_id 32000 .*generation_config.json is outside of the model's 400 tokens; set it"),
        (lambda _: None, 300, "the tokenizer's tokens go up to 379, the model has 300"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_a_tokenizer_that_does_not_do_is_refused_in_one_line(copy, damage, rows, message):
    folder = copy("llama2-7b")
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(rows)
    damage(folder)
    if (settings := folder / "generation_config.json").exists():
        model.generation_config = type(model.generation_config).from_pretrained(folder, settings.name)
    with pytest.raises(StudyError, match=message) as caught:
        door.load(folder, model)
    assert "\n" not in str(caught.value)


def test_an_added_token_without_a_row_matters_only_in_a_text(copy):
    folder = copy("phi-2")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"<image{number}>" for number in range(200)], special_tokens=True)
    tokenizer.save_pretrained(folder)
    settled, _ = opened(folder)
    assert len(sampling.encode([one()], settled, 100)) == 1
    with pytest.raises(StudyError, match="'<image150>' is token 45., the model has 400; leave it out"):
        sampling.encode([one("See <image150>: ")], settled, 100)


def test_a_text_without_a_token_is_refused(shipped):
    with pytest.raises(StudyError, match="mine: item one: the tokenizer makes no token of its prompt"):
        sampling.encode([one("")], opened(shipped["phi-2"])[0], 100)
    assert sampling.encode([one("")], opened(shipped["llama2-7b"])[0], 100), "BOS alone predicts an answer"


LIMITED = {"gpt2": 64, "opt": 64, "opt-pre-norm": 64}


@pytest.mark.parametrize("architecture", ["gpt2", "opt", "llama", "phi", "falcon", "neox", "gemma3"])
def test_positions_are_those_that_a_forward_takes(architecture):
    model, limit = build(architecture), LIMITED.get(architecture)
    assert positions(model) == limit
    for length, runs in ((64, True), (65, limit is None)):
        try:
            model(input_ids=torch.full((1, length), 5), attention_mask=torch.ones(1, length, dtype=torch.int64))
            assert runs
        except (IndexError, RuntimeError):
            assert not runs


def test_longer_samples_and_answers_than_positions_are_refused(tmp_path):
    tokenizer, model = opened(tokenizers.short(tmp_path))
    assert tokenizer.model_max_length == 32
    with pytest.raises(StudyError, match="length: 33 tokens a sample, the model has positions for 32; lower length"):
        sampling.encode([one()], tokenizer, 33)
    assert len(sampling.encode([one()], tokenizer, 32)) == 1
    with pytest.raises(StudyError, match="answers of 8 tokens to prompts of 30, it has positions for 32; lower length"):
        generate(model, [[5] * 30, [5] * 3], 8, 0)
    assert [len(answer) for answer in generate(model, [[5] * 30], 2, 0)] == [2]
