"""What a split model's open half holds and what it does not; who reads it, and who refuses."""

import contextlib
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from transformers import AutoModelForCausalLM

from solid_utils.core.errors import StudyError
from solid_utils.deployment.secured import secured_set
from solid_utils.model import checkpoint
from solid_utils.model.models import from_folder
from solid_utils.runtime import keys, manifest, seal, split
from solid_utils.runtime.manifest import Policy
from tests.conftest import CONFIGS, build
from tests.runtime.split_model import KEY, divided, pieces, saved

SETS = {"gpt2": "embeddings + layers 0", "llama-tied": "embeddings", "llama": "head", "mixtral": "layers 0-1"}


@pytest.mark.parametrize("architecture", CONFIGS)
def test_transformers_own_report_names_exactly_the_secured_tensors(tmp_path, architecture):
    declaration = SETS.get(architecture, "layers 1-2")
    made = divided(tmp_path, architecture, declaration)
    secured = secured_set(build(architecture), declaration)
    assert made.names == secured.names
    plain, report = AutoModelForCausalLM.from_pretrained(tmp_path / "halves/open", output_loading_info=True)
    # A head that is tied to secured embeddings is the same tensor.
    head = {"lm_head.weight"} if "embeddings" in declaration else set()
    assert set(report["missing_keys"]) == {*secured.names, *head}
    assert not report["unexpected_keys"] and not report["mismatched_keys"]
    original = dict(build(architecture).named_parameters())
    for name, parameter in plain.named_parameters():
        assert (name in secured.names) or torch.equal(parameter, original[name])


def test_no_secured_byte_is_in_the_open_half_or_readable_in_the_sealed_one(tmp_path):
    made = divided(tmp_path, "llama", "layers 0-1")
    files = [path.read_bytes() for path in (tmp_path / "halves").rglob("*") if path.is_file()]
    wanted = [piece for name in made.names for piece in pieces(dict(build("llama").named_parameters())[name])]
    assert len(wanted) > 20
    assert not any(piece in data for piece in wanted for data in files)
    there = pieces(build("llama").model.layers[3].mlp.up_proj.weight)
    assert all(any(piece in data for data in files) for piece in there)  # the search finds what is open


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_secured_tensors_open_to_the_same_bits(tmp_path, dtype):
    made = split.split(saved(tmp_path, "llama", dtype), "layer 1 q,down", tmp_path / "halves", KEY)
    binding = manifest.sha256(tmp_path / "halves/open")
    opened = seal.unseal(tmp_path / "halves/sealed", made, binding, KEY)
    original = dict(build("llama").to(dtype).named_parameters())
    assert list(opened) == ["model.layers.1.self_attn.q_proj.weight", "model.layers.1.mlp.down_proj.weight"]
    assert all(torch.equal(opened[name], original[name]) and opened[name].dtype == dtype for name in opened)


def test_our_own_readers_refuse_the_open_half_and_point_to_the_client(tmp_path):
    divided(tmp_path, "llama", "layers 0")
    for read in (checkpoint.find, from_folder):
        with pytest.raises(StudyError, match="SemiOpenForCausalLM") as caught:
            read(tmp_path / "halves/open")
        assert "\n" not in str(caught.value)
    assert checkpoint.find(tmp_path / "model")  # the whole model is read as before


@pytest.mark.parametrize(
    ("declaration", "said"),
    [("none", "nothing is secured"), ("layers 9", "layer 9 does not exist"), ("solid", "dvc repro")],
)
def test_what_cannot_be_split_is_one_line_and_writes_nothing(tmp_path, declaration, said):
    with pytest.raises(StudyError, match=said):
        divided(tmp_path, "llama", declaration)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    """An earlier split gives way; the model's own folder, or a customer's work, does not."""
    divided(tmp_path, "llama", "layers 1")
    made = divided(tmp_path, "llama", "layers 0")
    assert manifest.read(tmp_path / "halves/open").secured == made.secured
    (tmp_path / "halves/notes.txt").write_text("mine")
    for place in ("halves", "model"):
        with pytest.raises(StudyError, match=f"{place}: holds '.*', which would be deleted; name a folder"):
            split.split(tmp_path / "model", "layers 0", tmp_path / place, KEY)
    assert (tmp_path / "halves/notes.txt").read_text() == "mine"
    assert manifest.read(tmp_path / "halves/open").secured == made.secured


def test_another_type_is_refused(tmp_path):
    with pytest.raises(StudyError, match="weights of type F16"):
        split.split(saved(tmp_path, "llama", torch.float16), "layers 0", tmp_path / "halves", KEY)


def test_the_manifest_says_what_lies_there(tmp_path):
    made = divided(tmp_path, "llama", "layers 0", Policy(gradients=True))
    folder = tmp_path / "halves/open"
    assert manifest.read(folder) == made and made.policy.gradients
    manifest.check_files(folder, made)
    assert set(made.files) == {path.name for path in folder.iterdir()} - {"manifest.json"}
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    safetensors.torch.save_file(tensors | {"model.norm.weight": torch.zeros(16)}, folder / "model.safetensors")
    with pytest.raises(StudyError, match="model.safetensors: is not what was split"):
        manifest.check_files(folder, made)
    (folder / "config.json").unlink()
    with pytest.raises(StudyError, match="config.json: missing"):
        manifest.check_files(folder, made)


def test_the_fingerprint_confirms_no_guess(tmp_path):
    """A plain hash would tell whoever guesses the secured tensors, such as a public model's own, that he is right."""
    made = divided(tmp_path, "llama", "layers 0")
    again = split.split(tmp_path / "model", "layers 0", tmp_path / "more", KEY)
    other = split.split(tmp_path / "model", "layers 0", tmp_path / "other", bytes(32))
    assert made.fingerprint == again.fingerprint != other.fingerprint
    found = checkpoint.find(tmp_path / "model")
    assert made.fingerprint != found.sha256()


def test_a_signature_is_checked(tmp_path):
    private = bytes(range(32))
    split.split(saved(tmp_path, "llama"), "layers 0", tmp_path / "halves", KEY, private=private)
    folder = tmp_path / "halves/open"
    manifest.check_signature(folder, manifest.public_key(private))
    with pytest.raises(StudyError, match="not signed by this public key"):
        manifest.check_signature(folder, manifest.public_key(bytes(32)))
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace('"gradients": false', '"gradients": true'))
    with pytest.raises(StudyError, match="not signed by this public key"):
        manifest.check_signature(folder, manifest.public_key(private))


def test_a_key_comes_from_a_file_the_environment_or_a_command(tmp_path, monkeypatch):
    keys.make(tmp_path / "key")
    key = keys.read(f"file:{tmp_path / 'key'}")
    assert len(key) == 32 and (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("SOLID_TEST_KEY", key.hex())
    assert keys.read("env:SOLID_TEST_KEY") == keys.read(f"command:cat {tmp_path / 'key'}") == key
    with pytest.raises(StudyError, match="there already"):
        keys.make(tmp_path / "key")


@pytest.mark.parametrize("source", ["", "key", "file:", "env:SOLID_NO_SUCH", "command:false", "command:echo 0123"])
def test_no_key_is_one_line(source):
    with pytest.raises(StudyError, match="key:") as caught:
        keys.read(source)
    assert "\n" not in str(caught.value) and "0123'" not in str(caught.value)


def test_the_command(tmp_path, monkeypatch, capsys):
    (tmp_path / "policy.json").write_text(json.dumps({"limits": {"tokens_day": 1000}}))
    given = [saved(tmp_path, "llama"), "layers 0", tmp_path / "halves", "--new-key", tmp_path / "key"]
    monkeypatch.setattr("sys.argv", ["solid-split", *map(str, given), "--policy", str(tmp_path / "policy.json")])
    split.command()
    assert "9 tensors sealed ('layers 0')" in capsys.readouterr().out
    made, binding = manifest.read(tmp_path / "halves/open"), manifest.sha256(tmp_path / "halves/open")
    assert made.policy.limits.tokens_day == 1000
    key = keys.read(f"file:{tmp_path / 'key'}")
    assert len(seal.unseal(tmp_path / "halves/sealed", made, binding, key)) == 9
    with pytest.raises(SystemExit):
        split.command()  # the key is there already
    assert "error:" in capsys.readouterr().err


def test_a_split_that_is_refused_leaves_no_key_in_the_way_of_the_next(tmp_path, monkeypatch, capsys):
    model, key, halves = str(saved(tmp_path, "llama")), str(tmp_path / "key"), str(tmp_path / "halves")
    for declaration, status in (("layers 99", 2), ("layers 0", 0)):
        monkeypatch.setattr("sys.argv", ["solid-split", model, declaration, halves, "--new-key", key])
        with pytest.raises(SystemExit) if status else contextlib.nullcontext():
            split.command()
        assert Path(key).exists() == Path(halves).exists() == (not status)
    assert capsys.readouterr().err.count("error:") == 1


def test_a_policy_that_is_none_is_one_line(tmp_path):
    (tmp_path / "policy.json").write_text('{"limits": {"tokens_dya": 3}}')
    with pytest.raises(StudyError, match="limits.tokens_dya: Extra inputs"):
        split.read_policy(tmp_path / "policy.json")
