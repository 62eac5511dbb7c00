"""The command for a model of one's own, on a tiny random one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from transformers import ViTConfig

from solid_utils.core import paths
from solid_utils.core.errors import StudyError
from solid_utils.difficulty import weights
from solid_utils.model import accelerator, checkpoint
from solid_utils.recommend import card, options, plan, recommend
from tests.cases import architectures
from tests.cases import checkpoints as cases
from tests.conftest import byte_llama
from tests.recommend.conftest import TEXTS, save_model
from tests.synthetic import write_attack

HERE = Path(__file__).parents[2]


def run(*options: str) -> str:
    """The card of a search with small options, without an attack: test_attack.py runs those."""
    recommend.main(
        ["--model", "mine", "--data", "texts.jsonl", "--samples", "4", "--seeds", "20,42", "--memory", "2GB"]
        + ["--card", "card.md", "--no-attack", *options]
    )
    return Path("card.md").read_text()


def test_names_are_shown_as_they_are_and_nothing_more():
    for text in ("mine", "org/a-model_1.5.gguf", "ft_all on toy (seed 42): 240 queries, 2.0% -> 51.0%"):
        assert card.plain(text) == text
    assert card.plain("a`b`|c\n# d <script>[x](y) *e* \\ _f_ __g__") == (
        r"a\`b\`\|c # d &lt;script&gt;\[x\](y) \*e\* \\ \_f\_ \_\_g\_\_"
    )


def test_a_hostile_path_stays_text_in_the_card(folder):
    name = "a`|<b>x<i>\n# y"
    folder.rename(name)
    Path("texts.jsonl").rename("<script>`|.jsonl")
    text = run("--model", name, "--data", "<script>`|.jsonl")
    assert text.startswith("# Which layers to secure: a\\`\\|&lt;b&gt;x&lt;i&gt; # y\n")
    assert "<" not in text.replace(" -> ", "") and "&lt;script&gt;\\`\\|.jsonl" in section(text, "Score")


MARKER = "Xyzzyplugh"


def holding(marker: str, top: Path) -> list[str]:
    """Files below a folder with that text in them, or in their names."""
    found = [path for path in top.rglob("*") if path.is_file()]
    return [path.name for path in found if marker.encode() in path.read_bytes() or marker in path.name]


def test_texts_of_a_user_stay_in_his_file(folder, monkeypatch, capsys):
    """Neither in the card, nor in what is left behind, be it by a run that was killed, nor in what is said."""
    lines = [{"prompt": f"{prompt}{MARKER} ", "answer": f"{answer} {MARKER}"} for prompt, answer in TEXTS]
    Path("texts.jsonl").write_text("\n".join(map(json.dumps, lines)))

    def dies(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as cut, pytest.raises(KeyboardInterrupt):
        cut.setattr(recommend, "card", dies)  # all is scored, nothing is written
        run()
    assert list((paths.STATE / "recommend").rglob("*.json")), "no state was left to look at"
    assert holding(MARKER, folder.parent) == ["texts.jsonl"]
    run()
    assert holding(MARKER, folder.parent) == ["texts.jsonl"] and "texts.jsonl" in Path("card.md").read_text()
    for text in (f"{MARKER}\n", json.dumps({"prompt": MARKER}), json.dumps({"prompt": MARKER, "answer": MARKER})):
        Path("bad.jsonl").write_text(text)
        assert MARKER not in refused(capsys, "--data", "bad.jsonl")
    said = capsys.readouterr()
    assert MARKER not in said.out + said.err


def section(text: str, title: str) -> str:
    return text.split(f"## {title}\n")[1].split("\n## ")[0].strip()


def test_the_card_says_what_was_found_and_what_not(folder, capsys):
    text = run()
    said = capsys.readouterr().out
    assert text in said and said.index("plan: ") < said.index("everything") and "all: DD " in said
    assert (
        "# Which layers to secure: mine" in text and "**Recommended: bottom " in text and " of 4 decoder layers" in text
    )
    assert "not a promise of security: DD measures where the attacker starts, not where he ends" in text
    assert section(text, "Attacks of the study on this model") == "- no attack run on this model"
    score = section(text, "Score")
    assert "4 samples of texts.jsonl, at most 512 tokens; seeds 20, 42; start xavier; bfloat16." in score
    assert "| everything | " in score and "| bottom 1 | " in score and "ln(vocabulary) = 5.99" in score
    assert "Beside DD" not in score, "nothing was attacked"
    cost = section(text, "Cost of securing it")
    assert "secure memory: " in cost and "FLOP a token" in cost and "bytes a token forward" in cost
    assert section(text, "The run").startswith("```\nplan: ")
    assert len(text.splitlines()) < 60
    assert not (paths.STATE / "recommend").exists() or not list((paths.STATE / "recommend").iterdir())


def test_streamed_and_in_memory_recommend_the_same(folder, capsys):
    streamed, whole = run("--stream", "always"), run("--stream", "never")
    assert "read from disk" in streamed and "over weights in memory" in whole
    same = [section(text, "Score").split("\n") for text in (streamed, whole)]
    assert set(same[1]) <= set(same[0])  # streamed, a wave of prefixes is scored at once
    assert streamed.split("\n")[2] == whole.split("\n")[2]


def test_two_processes_write_the_card_of_one(folder, capsys):
    lines = [{"prompt": prompt * times, "answer": answer} for times in (1, 20) for prompt, answer in TEXTS[:2]]
    lines += [{"prompt": f"{number} + 1 = ", "answer": f"It is {number + 1}."} for number in range(20)]
    Path("long.jsonl").write_text("\n".join(map(json.dumps, lines)))  # far too unlike in length for one batch
    options = ["--data", "long.jsonl", "--samples", "4", "--seeds", "20,42", "--memory", "2GB"]
    options += ["--dtype", "float32", "--queries", "20"]
    options += ["--hold-below", "1", "--card"]  # a status that is not 0 is an error for torchrun
    recommend.main(["--model", "mine", *options, "one.md"])
    assert "padded tokens in each of" not in capsys.readouterr().out
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += ["-m", "solid_utils.difficulty", "--model", "mine", *options, "two.md"]
    settings = {**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=settings)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("card: two.md") == 1 and "padded tokens in each of 2 processes)" in done.stdout
    one, two = Path("one.md").read_text(), Path("two.md").read_text()
    assert section(one, "Score") == section(two, "Score") and one.split("\n")[2] == two.split("\n")[2]
    attacks = [
        section(text, "Measured attack").replace(f"{name}.png", "") for name, text in (("one", one), ("two", two))
    ]
    assert attacks[0] == attacks[1] and "20 texts" in attacks[0]
    assert not list((folder.parent / "build" / "state" / "recommend").iterdir())


def test_it_streams_when_weights_fill_half_of_the_memory():
    args = recommend.arguments(["--model", "mine", "--memory", "1GB"])
    assert recommend.streams(args, 500_000_001) and not recommend.streams(args, 500_000_000)


def test_a_killed_run_goes_on_and_ends_at_the_same_card(folder, monkeypatch, capsys):
    monkeypatch.setattr(plan, "AT_ONCE", 1)
    options = ("--stream", "always", "--epsilon", "0")
    whole, read = run(*options), []
    assert whole.startswith("# Which layers to secure: mine\n\n**Recommended: bottom 4*")
    layer, last = weights.Streamed.layer, 8

    def dies(source, index):
        if len(read) == last:
            raise KeyboardInterrupt
        read.append(index)
        return layer(source, index)

    monkeypatch.setattr(weights.Streamed, "layer", dies)
    Path("card.md").unlink()
    with pytest.raises(KeyboardInterrupt):
        run(*options)
    # Opened, the guard's two, bottom 1, bottom 2, in bottom 3.
    assert read == [0, *(0, 3), 1, 2, 3, 2, 3] and not Path("card.md").exists()
    read, last = [], 12
    assert run(*options) == whole
    assert read == [0, *(0, 3), 3]  # opened, the guard's two, bottom 3; bottom 4 reads nothing


def test_an_attack_on_the_same_set_is_reported(folder, capsys):
    text = run()
    layers = int(text.split("**Recommended: bottom ")[1].split("*")[0])
    revision, _ = card.identity(checkpoint.find(folder), checkpoint.find(folder).sha256())
    secured = "layers 0" if layers == 1 else f"layers 0-{layers - 1}"
    attack = ("solid", secured, "ft_all", 8, 30, 0.02, 0.51, 0.05)
    write_attack(Path("reference/box/runs"), "toy", "solid-ft_all", "small", attack)
    path = Path("reference/box/runs/toy/attacks/solid-ft_all/scores.csv")
    assert section(run(), "Attacks of the study on this model") == "- no attack run on this model"  # another revision
    path.write_text(path.read_text().replace("0123456789ab", revision))
    assert section(run(), "Attacks of the study on this model") == (
        "- ft_all on toy (seed 42): 240 queries, agreement with the victim 2.0% -> 51.0%, so 50.0% of what the start "
        "lacked was recovered"
    )
    other = ("darknetz", "layers 3" if layers < 4 else "layers 2", "ft_all", 8, 30, 0.02, 0.51, 0.05)
    write_attack(Path("results/runs"), "toy", "darknetz-ft_all", "small", other)  # another set: reference still speaks
    assert "240 queries" in section(run(), "Attacks of the study on this model")


def test_an_attack_on_a_start_that_lacked_nothing():
    run = {"model": "toy", "attack": "sem", "seed": 42, "benchmark": "evaluation", "metric": "agreement", "value": 1.0}
    (line,) = card.achieved(pd.DataFrame([run | {"steps": steps, "queries": 8 * steps} for steps in (0, 1)]))
    assert line.endswith("8 queries, agreement with the victim 100.0% -> 100.0%, so the start lacked nothing")


def test_a_victim_of_the_study_is_known_by_name(tmp_path):
    (tmp_path / "toy" / "victim").mkdir(parents=True)
    (tmp_path / "toy" / "victim" / "source.json").write_text('{"source": "packaged", "revision": "abc"}')
    assert card.identity(checkpoint.Checkpoint(tmp_path / "toy" / "victim", ()), "sha256") == ("abc", "toy")
    (tmp_path / "snapshots" / "c0ffee").mkdir(parents=True)
    assert card.identity(checkpoint.Checkpoint(tmp_path / "snapshots" / "c0ffee", ()), "sha256") == ("c0ffee", None)


def refused(capsys, *options: str) -> str:
    """The one line of a run that is refused."""
    with pytest.raises(StudyError) as error:
        run(*options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_the_user_can_mend_gets_one_line(folder, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub = refused(capsys, "--model", "nobody/nothing")
    assert hub.startswith(
        "--model nobody/nothing: no such folder, and no such model or no access on the Hugging Face hub"
    )
    assert "no config.json there; give a folder" in refused(capsys, "--model", "./not/here")
    Path("empty").mkdir()
    assert "--model empty: no config.json there" in refused(capsys, "--model", "empty")
    (Path("empty") / "config.json").write_text("{}")
    assert "no *.safetensors there" in refused(capsys, "--model", "empty")
    assert "memory: 100 MB allowed, " in refused(capsys, "--memory", "100MB")
    assert "--memory lots: not understood; write a size such as 3GB" in refused(capsys, "--memory", "lots")
    assert "--seeds 20,x: not understood" in refused(capsys, "--seeds", "20,x")
    assert "--samples, --length" in refused(capsys, "--epsilon", "1")
    assert "5 samples asked, 4 fit 512 tokens; ask for 4 with --samples" in refused(capsys, "--samples", "5")
    assert "--data gone.jsonl: no such file" in refused(capsys, "--data", "gone.jsonl")
    Path("bad.jsonl").write_text('{"prompt": "a", "answer": "b"}\n\n{"prompt": "a"}\n')
    assert "bad.jsonl: line 3: it has no answer; write" in refused(capsys, "--data", "bad.jsonl")


@pytest.mark.parametrize("card", ["/dev/null", "/dev/stdout", ".", "/dev/null/card.md"])
def test_a_card_that_is_no_file_is_refused_before_the_search(card, capsys):
    assert f"{card}: " in refused(capsys, "--card", card)
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("stream", ["never", "always"])
@pytest.mark.parametrize("case", ["no head", "nan", "cut", "deeper", "integers", "gptq", "no architecture"])
def test_a_broken_checkpoint_gets_one_line(case, stream, folder, capsys):
    cases.BROKEN[case][0](folder)
    line = refused(capsys, "--stream", stream)
    assert "mine" in line and len(line.strip().splitlines()) == 1


def test_only_what_transformers_reads_is_read_and_the_rest_is_named(folder, capsys):
    plain = run("--stream", "always")
    capsys.readouterr()
    cases.change(lambda tensors: [tensor.mul_(2) for tensor in tensors.values()])(folder)
    (folder / cases.WEIGHTS).rename(folder / "zz_ema.safetensors")
    save_model(folder)
    assert run("--stream", "always") == plain
    assert "mine: read: model.safetensors; not read: zz_ema.safetensors\n" in capsys.readouterr().out


def test_weights_beside_an_adapter_are_refused_unless_they_alone_are_meant(folder, capsys):
    plain = run("--stream", "never")
    (folder / checkpoint.ADAPTER).write_text('{"peft_type": "LORA", "base_model_name_or_path": "gone"}')
    assert "--ignore-adapter" in refused(capsys)
    for stream in ("never", "always"):
        text = run("--stream", stream, "--ignore-adapter")
        assert text.split("\n")[2] == plain.split("\n")[2]
    (folder / cases.WEIGHTS).unlink()
    (folder / "adapter_model.safetensors").write_bytes(b"")
    assert "an adapter and no model" in refused(capsys)


@pytest.mark.parametrize(("fast", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_a_cpu_that_emulates_bfloat16_scores_in_float32(fast, dtype, folder, monkeypatch):
    monkeypatch.setattr(accelerator.machine, "multiplies_bfloat16", lambda: fast)
    assert f"; {dtype}." in run()


def test_the_card_has_the_hash_of_the_weights(folder, capsys):
    expected = f"Weights: model.safetensors, sha256 {checkpoint.find(folder).sha256()}\n"
    assert run("--stream", "always").endswith(expected) and run("--stream", "never").endswith(expected)


def test_a_gguf_file_gets_a_card_of_the_same_numbers(folder, tokenizer, capsys):
    byte_llama(0).save_pretrained("bytes")
    tokenizer.save_pretrained("bytes")
    cases.gguf(Path("mine.gguf"), tokenizer)
    texts = [run("--model", model, "--dtype", "float32") for model in ("bytes", "mine.gguf")]
    assert section(texts[0], "Score") == section(texts[1], "Score")
    assert "Weights: mine.gguf, sha256 " in texts[1]
    assert "a GGUF file cannot be read layer by layer" in refused(capsys, "--model", "mine.gguf", "--stream", "always")
    cases.cut(Path(), "mine.gguf")
    assert "mine.gguf: " in refused(capsys, "--model", "mine.gguf")
    assert "gone.gguf: missing" in refused(capsys, "--model", "gone.gguf")


def test_a_model_that_is_no_decoder_gets_one_line(folder, capsys):
    ViTConfig(hidden_size=16).save_pretrained(folder)
    assert "config.json: no causal language model" in refused(capsys)


def test_byte_counts():
    sizes = {"3GB": 3e9, "500 MB": 5e8, "1.5g": 1.5e9, "2TB": 2e12, "7": 7}
    assert {text: options.byte_count(text) for text in sizes} == sizes


def test_the_command_line(folder):
    command = [sys.executable, "-m", "solid_utils.difficulty", "--model", "nowhere/"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder.parent)
    assert done.returncode == 2 and done.stderr.startswith("error: --model nowhere/: no config.json there")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("stream", ["never", "always"])
def test_a_model_that_looks_ahead_gets_no_card(folder, stream):
    options = {"vocab_size": 400, "is_decoder": False}
    architectures.build("bert-both-ways", options).save_pretrained(folder)
    with pytest.raises(StudyError, match="BertLMHeadModel looks ahead"):
        run("--stream", stream, "--dtype", "float32")
    assert not Path("card.md").exists()


def test_an_encoder_with_a_decoder_gets_no_card(folder):
    (folder / "config.json").write_text(json.dumps({"model_type": "bart", "architectures": ["BartForCausalLM"]}))
    with pytest.raises(StudyError, match="config.json: bart is an encoder with a decoder"):
        run()


def test_a_forward_that_cannot_be_taken_apart_is_one_line(folder):
    """RWKV divides its weights in place, which have no memory while a search is planned."""
    architectures.build("rwkv-6", {"vocab_size": 400}).save_pretrained(folder)
    with pytest.raises(StudyError, match="rwkv: its forward cannot be taken apart") as error:
        run("--dtype", "float32")
    assert "\n" not in str(error.value)
