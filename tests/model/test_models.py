import hashlib
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from solid_utils.core import machine
from solid_utils.core.errors import StudyError
from solid_utils.model import accelerator, models, tensors
from solid_utils.settings import params
from tests.cases import checkpoints as cases
from tests.conftest import build

HUB = params.Model(source="hub", path="nobody/nothing", revision="0" * 40, weights="float32", autocast=None)


def test_a_replica_is_kept_as_the_tensors_that_differ(llama, tmp_path):
    replica = models.clone(llama)
    with torch.no_grad():
        replica.lm_head.weight.add_(1)
    assert models.save_delta(replica, llama, tmp_path / "replica.safetensors") == 1
    stored = safetensors.torch.load_file(tmp_path / "replica.safetensors")
    assert set(stored) == {"lm_head.weight"} and stored["lm_head.weight"].dtype == torch.bfloat16
    back = models.clone(llama)
    models.load_delta(back, tmp_path / "replica.safetensors")
    assert torch.equal(back.lm_head.weight, replica.lm_head.weight.to(torch.bfloat16).float())
    assert torch.equal(back.model.norm.weight, llama.model.norm.weight)


def test_a_foreign_checkpoint_is_refused(llama, tmp_path):
    safetensors.torch.save_file({"other.weight": torch.ones(2)}, tmp_path / "replica.safetensors")
    with pytest.raises(StudyError, match="other.weight is no parameter of this model"):
        models.load_delta(llama, tmp_path / "replica.safetensors")


def test_half_a_replica_and_a_tensor_of_another_shape_are_refused(llama, tmp_path):
    path, secret = tmp_path / "replica.safetensors", ["model.layers.0.mlp.up_proj.weight", "lm_head.weight"]
    whole = {name: llama.get_parameter(name).detach().bfloat16() for name in secret}
    for damaged, complaint in (
        ({secret[0]: whole[secret[0]]}, "lm_head.weight is missing or not finite there"),
        (whole | {"lm_head.weight": whole["lm_head.weight"] * math.nan}, "lm_head.weight is missing or not finite"),
        (
            whole | {"lm_head.weight": torch.ones(1)},
            r"lm_head.weight is torch.float32 of shape \(1,\), the model's has",
        ),
        (whole | {"lm_head.weight": torch.ones(97, 16, dtype=torch.int8)}, "lm_head.weight is torch.int8 of shape"),
    ):
        safetensors.torch.save_file(damaged, path)
        with pytest.raises(StudyError, match=complaint):
            models.load_delta(models.open_part(llama, secret), path)
    safetensors.torch.save_file(whole, path)
    models.load_delta(models.open_part(llama, secret), path)


@pytest.mark.parametrize("architecture", ["llama", "llama-tied", "gpt2", "opt", "mixtral"])
def test_a_shared_open_part_holds_no_second_copy_and_leaves_the_victim_alone(architecture):
    victim = build(architecture)
    before = {name: parameter.clone() for name, parameter in victim.named_parameters()}
    secret = [name for name in before if ".0." in name]
    opened = models.open_part(victim, secret, shared=True)
    own, theirs = dict(opened.named_parameters()), dict(victim.named_parameters())
    assert secret and own.keys() == theirs.keys()
    for name in own:
        assert (own[name] is theirs[name]) == (name not in secret), name
        assert torch.equal(theirs[name], before[name]), name
        assert own[name].isnan().all() or name not in secret, name
    apart = models.open_part(victim, secret)
    assert not any(parameter is theirs[name] for name, parameter in apart.named_parameters())
    assert opened.config is not victim.config and not opened.training


def test_a_replica_that_is_not_finite_is_not_kept(llama, tmp_path):
    replica = models.clone(llama)
    with torch.no_grad():
        replica.lm_head.weight[0, 0] = math.inf
    with pytest.raises(StudyError, match="lm_head.weight is not finite after training; lower learning_rate"):
        models.save_delta(replica, llama, tmp_path / "replica.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_no_half_file(llama, tmp_path, monkeypatch):
    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    replica = models.clone(llama)
    with torch.no_grad():
        replica.lm_head.weight.add_(1)
    with pytest.raises(StudyError, match="cannot be written .*No space left.*free some disk space"):
        models.save_delta(replica, llama, tmp_path / "replica.safetensors")
    assert not list(tmp_path.iterdir())


def test_too_little_disk_is_seen_before_writing(llama, tmp_path, monkeypatch):

    class Usage:
        free = 10

    monkeypatch.setattr(machine.shutil, "disk_usage", lambda folder: Usage)
    replica = models.clone(llama)
    with torch.no_grad():
        replica.lm_head.weight.add_(1)
    with pytest.raises(StudyError, match="the replica needs .* GB, 0.0 GB free; free some"):
        models.save_delta(replica, llama, tmp_path / "replica.safetensors")


def test_no_hub_gets_one_line_that_says_what_to_set(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        StudyError, match="nobody/nothing: no access to the Hugging Face hub .* set source: folder"
    ) as caught:
        models.from_hub(HUB)
    assert "\n" not in str(caught.value)


def test_missing_sources_get_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudyError, match="no config.json there"):
        models.from_folder(tmp_path)
    for source, fix in (("packaged", "dvc repro fetch"), ("parts", "python -m solid_utils.raw.parts MODEL")):
        spec = params.Model(source=source, path="model.gguf", weights="float32", autocast=None)
        with pytest.raises(StudyError, match=f"model.gguf: missing; run `{fix}`"):
            models.materialise(tmp_path / "victim", spec)
    with pytest.raises(StudyError, match="no model there; run `dvc repro victim@x`"):
        models.load_victim("x", HUB)


def test_a_local_folder_is_a_victim(llama, tmp_path, monkeypatch):
    from tokenizers import Tokenizer
    from tokenizers import models as tokenizer_models

    monkeypatch.chdir(tmp_path)
    llama.save_pretrained("mine")
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer(tokenizer_models.BPE()), eos_token="<e>").save_pretrained("mine")
    spec = params.Model(source="folder", path="mine", weights="float32", autocast=None)
    models.materialise(models.victim_folder("mine"), spec)
    victim, _, _ = models.load_victim("mine", spec)
    revision = models.from_folder(Path("mine"))[2]
    for name, tensor in victim.state_dict().items():
        assert torch.equal(tensor, llama.state_dict()[name].to(torch.bfloat16).float()), name
    # ... and the public base of what a customization made of it.
    customized = models.clone(victim)
    with torch.no_grad():
        customized.model.layers[1].mlp.up_proj.weight += 1
    delta = Path("customized.safetensors")
    models.save_delta(customized, victim, delta)
    models.materialise(models.base_folder("tuned"), spec)
    tuned = params.Model(source="customized", path=str(delta), base="mine", weights="float32", autocast=None)
    models.materialise(models.victim_folder("tuned"), tuned)
    for model, expected in (
        (models.load_victim("tuned", tuned)[0], customized),
        (models.load_base("tuned", spec), victim),
    ):
        state = expected.state_dict()
        assert all(torch.equal(tensor, state[name].bfloat16().float()) for name, tensor in model.state_dict().items())
    with pytest.raises(StudyError, match="gone.safetensors: missing"):
        models.from_customized(models.base_folder("tuned"), Path("gone.safetensors"))
    customized.save_pretrained("mine")
    assert models.from_folder(Path("mine"))[2] != revision, "other weights under the same configuration"


def folder_spec(path: str) -> params.Model:
    return params.Model(source="folder", path=path, weights="float32", autocast=None)


@pytest.fixture
def mine(tmp_path, monkeypatch, tokenizer):
    """A model of the user's own in the folder "mine"."""
    monkeypatch.chdir(tmp_path)
    cases.healthy(Path("mine"))
    tokenizer.save_pretrained("mine")
    return folder_spec("mine")


def test_a_victim_that_does_not_fit_in_float32_is_told_how_it_does(mine, monkeypatch):
    spec = params.Model(source="folder", path="mine", weights="float32", autocast=None)
    models.materialise(models.victim_folder("mine"), spec)
    there = sum(path.stat().st_size for path in models.victim_folder("mine").glob("*.safetensors"))
    monkeypatch.setattr(accelerator.psutil, "virtual_memory", lambda: SimpleNamespace(available=1.5 * there))
    with pytest.raises(StudyError, match="set weights: bfloat16 and autocast: bfloat16 in models.mine"):
        models.load_victim("mine", spec)
    halved = spec.model_copy(update={"weights": "bfloat16", "autocast": "bfloat16"})
    assert {part.dtype for part in models.load_victim("mine", halved)[0].parameters()} == {torch.bfloat16}


def test_a_victim_has_a_digest_a_tensor_and_one_flipped_bit_is_seen(mine):
    models.materialise(models.victim_folder("mine"), mine)
    path = models.victim_folder("mine") / cases.WEIGHTS
    assert set(tensors.Stored(path).digests) == set(safetensors.torch.load_file(path))
    whole = path.read_bytes()
    models.materialise(models.victim_folder("mine"), mine)
    assert path.read_bytes() == whole, "the same model is the same bytes"
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(StudyError, match="is not what was written"):
        models.load_victim("mine", mine)


@pytest.mark.parametrize("dies", ["save_pretrained", "seal", "tokenizer"])
def test_a_victim_that_was_killed_half_way_leaves_the_old_one_whole(dies, mine, monkeypatch):
    folder = models.victim_folder("mine")
    models.materialise(folder, mine)  # an earlier, whole one
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def killed(*_, **__):
        raise KeyboardInterrupt

    place = {
        "save_pretrained": (PreTrainedModel, "save_pretrained"),
        "seal": (tensors, "seal"),
        "tokenizer": (PreTrainedTokenizerFast, "save_pretrained"),
    }[dies]
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(*place, killed)
        models.materialise(folder, mine)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    models.load_victim("mine", mine)


def test_a_victim_whose_files_were_being_replaced_does_not_pass_for_whole(mine, monkeypatch):
    folder = models.victim_folder("mine")
    models.materialise(folder, mine)

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(models.folders, "put", killed)
        models.materialise(folder, mine)
    with pytest.raises(StudyError, match="no model there; run `dvc repro victim@mine`"):
        models.load_victim("mine", mine)
    models.materialise(folder, mine)
    models.load_victim("mine", mine)


def test_no_shard_of_an_earlier_victim_is_left(mine):
    folder = models.victim_folder("mine")
    models.materialise(folder, mine)
    for name in ("model-00001-of-00002.safetensors", "model.safetensors.index.json"):
        (folder / name).write_text("old")
    models.materialise(folder, mine)
    assert [path.name for path in folder.glob("model*")] == [cases.WEIGHTS]


@pytest.mark.parametrize("case", ["no head", "nan", "cut", "integers", "adapter"])
def test_a_broken_folder_is_no_victim(case, mine):
    cases.BROKEN[case][0](Path("mine"))
    with pytest.raises(StudyError, match=cases.BROKEN[case][1]):
        models.materialise(models.victim_folder("mine"), mine)
    assert not (models.victim_folder("mine") / "source.json").exists()


def test_a_source_that_cannot_be_read(mine):
    models.materialise(models.victim_folder("mine"), mine)
    for text, complaint in (("{", "source.json: no JSON"), ('{"source": "folder"}', "source.json: no revision in it")):
        (models.victim_folder("mine") / "source.json").write_text(text)
        with pytest.raises(StudyError, match=complaint):
            models.load_victim("mine", mine)


def test_a_gguf_file_of_ones_own_is_a_victim(mine, tokenizer):
    cases.gguf(Path("mine.gguf"), tokenizer)
    spec = folder_spec("mine.gguf")
    models.materialise(models.victim_folder("quantised"), spec)
    victim, words, revision = models.load_victim("quantised", spec)
    for name, tensor in cases.healthy(Path("again")).state_dict().items():
        assert torch.equal(victim.state_dict()[name], tensor.bfloat16().float()), name
    assert words("Ab 1")["input_ids"] == tokenizer("Ab 1")["input_ids"] and words.eos_token_id == 0
    assert revision == hashlib.sha256(Path("mine.gguf").read_bytes()).hexdigest()[:12]


def test_the_revision_of_a_folder_is_of_the_files_that_are_read(mine):
    revision = models.from_folder(Path("mine"))[2]
    Path("mine/older.safetensors").write_bytes(b"not read")
    assert models.from_folder(Path("mine"))[2] == revision


def test_a_hub_model_is_loaded_from_its_snapshot_and_checked(mine, monkeypatch, tmp_path):
    """The hub's cache as it lies on a disk: a snapshot of links to blobs."""
    cache = tmp_path / "models--nobody--thing"
    snapshot, blobs = cache / "snapshots" / ("a" * 40), cache / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in Path("mine").iterdir():
        (blobs / path.name).write_bytes(path.read_bytes())
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    spec = params.Model(source="hub", path="nobody/thing", revision="a" * 40, weights="float32", autocast=None)
    model, _, revision = models.from_hub(spec)
    assert revision == "a" * 40 and model.lm_head.weight.shape == (257, 16)
    (blobs / cases.WEIGHTS).unlink()
    with pytest.raises(StudyError, match="model.safetensors: a link to .*, which does not exist"):
        models.from_hub(spec)
