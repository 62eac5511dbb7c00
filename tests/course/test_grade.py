"""The graded task on the tiny model: three forms of a replica, a rubric that can be failed, a line for what is none."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import safetensors.torch
import torch

from solid_utils.attacks import linear_map
from solid_utils.core import paths
from solid_utils.core.errors import MISTAKE, StudyError, one_line
from solid_utils.course import frozen, grade, handed_in
from solid_utils.course.handed_in import HandedIn
from solid_utils.deployment.oracle import Oracle
from solid_utils.deployment.secured import secured_set
from solid_utils.model import models, sampling
from solid_utils.settings import params

ROOT = Path(__file__).parents[2]
SAID = {"queries": "40", "cpu_minutes": "1"}
WORDS = [f"{one}{two}" for one in ("ba", "co", "du", "fi", "ge") for two in ("r", "n", "st", "l")]
# The best shipped attack on layer 0 with at most so many queries.
CELL = "reference/nvidia-h200/scale/smollm2-135m/sem_linear-layers_0-ours-400-42.csv"


def sentence(number, length):
    stream = torch.Generator().manual_seed(number)
    return " ".join(WORDS[one] for one in torch.randint(0, len(WORDS), (length,), generator=stream).tolist())


def write(name, rows):
    path = paths.SETS / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def study():
    """The shipped settings, with few texts to grade on and a small victim."""
    whole = params.load(ROOT / "params.yaml")
    few = {"samples": 6, "apart": {"texts": 4, "length": 24}, "greedy": {"prompts": 1, "new_tokens": 1}}
    shape = params.Shape(layers=3, width=16, heads=2, vocabulary=400, tokenizer="llama2")
    tiny = whole.models["tiny"].model_copy(update={"shape": shape})
    changes = {"scale": whole.scale.model_copy(update={"evaluation": few}), "models": whole.models | {"tiny": tiny}}
    return whole.model_copy(update=changes | {"threads": 1})


@pytest.fixture(scope="module")
def place(study, tmp_path_factory):
    """A folder with sets and a tiny victim, and a linear map fitted on forty texts of the attack set."""
    folder = tmp_path_factory.mktemp("course")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, count in {"attack": 60, "evaluation": 20}.items():
            texts = [{"prompt": sentence(n, 9) + " ", "answer": sentence(n + 500, 5)} for n in range(count)]
            write(name, [{"id": f"{name}-{n:05d}", "source": "alpaca"} | text for n, text in enumerate(texts)])
        for name in sampling.APART:
            rows = [{"id": f"{name}-{n}", "source": name, "text": sentence(n + 900, 16)} for n in range(9)]
            write(f"apart_{name}", rows)
        spec = study.model("tiny")
        models.materialise(models.victim_folder("tiny"), spec)
        victim, tokenizer, _ = models.load_victim("tiny", spec)
        secured = secured_set(victim, "layers 0")
        oracle = Oracle(victim, secured, tokenizer.pad_token_id)
        texts = sampling.texts("attack", tokenizer, 32, 40)
        fitted = linear_map.fit(models.open_part(victim, secured.names), oracle, texts, 1).contiguous()
        layer = {name: victim.get_parameter(name).detach().clone() for name in secured.names}
    return folder, fitted, layer, victim, secured


@pytest.fixture
def there(place, monkeypatch):
    monkeypatch.chdir(place[0])
    return place


def save(tensors, said=SAID, name="replica.safetensors"):
    safetensors.torch.save_file({key: one.contiguous() for key, one in tensors.items()}, name, metadata=said)
    return name


def graded(capsys, study, file, seed="7"):
    status = grade.main([file, seed, "tiny"], study)
    lines = capsys.readouterr().out.splitlines()
    return status, {line.split()[0]: line.split()[1] for line in lines if line[:12].strip() in RUBRIC}, lines


RUBRIC = ("format", "queries", "cpu_minutes", "secret", "floor", "score")


def test_a_map_passes_and_beside_a_layer_of_nothing_it_is_the_same(there, study, capsys):
    _, fitted, layer, _, _ = there
    status, marks, lines = graded(capsys, study, save({"stitch": fitted}))
    assert status == 0 and marks == dict.fromkeys(RUBRIC[:-1], "ok") | {"score": "-"}, lines
    nothing = {name: torch.zeros_like(one) for name, one in layer.items()}
    again = graded(capsys, study, save(nothing | {"map": fitted}))
    # The layer of zeros adds nothing, and its zeros are not the victim's.
    assert again[0] == 0 and [line for line in again[2] if line.startswith(("floor", "score"))] == [
        line for line in lines if line.startswith(("floor", "score"))
    ]
    other = graded(capsys, study, save({"stitch": fitted}), seed="8")[2]
    assert other[:-1] != lines[:-1], "another seed draws other texts"
    assert graded(capsys, study, save({"stitch": fitted}))[2] == lines, "the same seed draws the same"


def test_a_copy_of_the_secret_and_noise_are_told(there, study, capsys):
    _, _, layer, _, _ = there
    status, marks, lines = graded(capsys, study, save(layer))
    assert status == 1 and marks["secret"] == "off" and marks["floor"] == "ok", lines
    assert any("100.0% of" in line for line in lines if line.startswith("floor")), "the victim agrees with itself"
    torch.manual_seed(0)
    noisy = {name: one + 0.1 * one.abs().mean() * torch.randn(one.shape) for name, one in layer.items()}
    assert graded(capsys, study, save(noisy))[1]["secret"] == "off"
    wild = {name: 30 * torch.randn(one.shape) for name, one in layer.items()}
    status, marks, lines = graded(capsys, study, save(wild, None))
    assert status == 1 and lines[-1].endswith("off: queries, cpu_minutes, floor"), lines


def test_against_a_figure_of_this_release(there, study, capsys):
    """The figure is read from rows, here those of another model under this one's name."""
    folder, fitted, *_ = there
    cells = folder / "reference/h/scale/tiny"
    cells.mkdir(parents=True)
    shutil.copy(ROOT / CELL, cells)
    shutil.copy((ROOT / CELL).with_name(paths.FLOOR_FILE), cells)
    try:
        _, marks, lines = graded(capsys, study, save({"stitch": fitted}))
        assert marks["score"] in ("ok", "off") and any("(sem_linear, reference/h/scale/tiny/" in line for line in lines)
    finally:
        shutil.rmtree(folder / "reference")


def wrong_files(layer, fitted):
    first = next(name for name in layer if layer[name].ndim > 1)
    return {
        "no file": (None, "missing"),
        "text": (b"queries: 400, trust me", "no whole safetensors file"),
        "empty": (b"", "empty"),
        "nothing": ({}, "no tensor in it"),
        "nan": (layer | {first: torch.full_like(layer[first], torch.nan)}, f"{first} holds values that are no numbers"),
        "infinite": ({"stitch": fitted * torch.inf}, "stitch holds values that are no numbers"),
        "shape": (layer | {first: layer[first][:-1]}, rf"{first} is of shape \(\d+, 16\), the model's is"),
        "digits": (layer | {first: layer[first].int()}, f"{first} is of type I32, not of floating-point numbers"),
        "one less": ({name: one for name, one in layer.items() if name != first}, f"no {first} in it"),
        "open": (layer | {"model.norm.weight": torch.ones(16)}, "model.norm.weight is open in this deployment"),
        "unknown": (layer | {"backdoor": torch.ones(2)}, "backdoor is unknown"),
        "both": (layer | {"stitch": fitted}, "`stitch` stands alone"),
        "map alone": ({"map": fitted}, "no model.layers.0"),
        "two maps": ({"map": fitted, "stitch": fitted.clone()}, "no model.layers.0"),
        "map shape": ({"stitch": fitted[:-1]}, r"a map of k tokens has \(2 \+ k \* 16, 16\)"),
        "map width": ({"stitch": fitted[:, :-1]}, r"a map of k tokens has"),
        "map of none": ({"stitch": fitted[:2]}, r"a map of k tokens has"),
    }


def test_what_cannot_be_graded_is_one_line_and_status_2(there, study, capsys):
    _, fitted, layer, victim, secured = there
    for case, (content, said) in wrong_files(layer, fitted).items():
        path = Path("wrong.safetensors")
        path.unlink(missing_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            save(content, name=str(path))
        with pytest.raises(StudyError, match=said) as error:
            handed_in.read(path, victim, secured)
        assert "\n" not in str(error.value) and str(error.value).startswith("wrong.safetensors: "), case
    for name, legacy in (("a.pt", False), ("b.bin", True)):
        torch.save(layer, name, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(SystemExit) as ended, one_line():
            grade.main([name, "7", "tiny"], study)
        assert ended.value.code == MISTAKE
        assert "a pickle, which is code and is not opened" in capsys.readouterr().err


@pytest.mark.parametrize("seed", ["", "abc", "1.5", "-1", "+1", "1_0", "1e3", "٣", "²", " 1", "9999999999", "0x1"])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(StudyError, match="not a whole number of at most nine digits; make grade") as error:
        grade.arguments(["a.safetensors", seed])
    assert "\n" not in str(error.value)


def test_arguments():
    assert grade.arguments(["a", "007"]) == (Path("a"), 7, grade.MODEL)
    assert grade.arguments(["a", "7", "tiny"])[2] == "tiny" and grade.arguments(["a", "7", ""])[2] == grade.MODEL
    for few in ([], ["a"], ["", "7"], ["a", "7", "tiny", "more"]):
        with pytest.raises(StudyError, match="a file and a seed are asked"):
            grade.arguments(few)


def test_texts_are_drawn_from_held_out_sets_alone(there):
    tokenizer = models.load_victim("tiny", params.load(ROOT / "params.yaml").model("tiny"))[1]
    wanted = params.Evaluation(
        suite="small", samples=6, limit=None, apart={"texts": 4, "length": 24}, greedy={"prompts": 1, "new_tokens": 1}
    )

    def ids(seed):
        return [one["id"] for rows in sampling.held_out(tokenizer, 64, wanted, seed).values() for one in rows]

    assert len(set(ids(1))) == 6 + 4 + 4 and ids(1) == ids(1) != ids(2)
    assert not any(one.startswith("attack") for one in ids(1) + ids(2))
    assert ids(None)[:6] == [f"evaluation-{number:05d}" for number in range(6)], "without a seed the first ones"


def handed(said):
    return HandedIn({}, torch.ones(18, 16), said)


@pytest.mark.parametrize(
    "count, passed",
    [("400", True), ("0", True), ("401", False), ("4e2", False), ("-5", False), ("", False), ("٣", False)],
)
def test_queries_are_what_the_file_says(count, passed):
    check = grade.said(handed({"queries": count}), "queries", 400)
    assert check.passed is passed
    assert ("not proved" in check.said) == count.isascii() * count.isdigit()
    assert grade.said(handed({}), "queries", 400).passed is False
    assert grade.said(handed({"queries": "9" * 5000}), "queries", 400).passed is False


@pytest.mark.parametrize(
    "minutes, passed", [("4.5", True), ("90", True), ("90.0", True), ("90.1", False), ("4,5", False), (".5", False)]
)
def test_minutes_may_have_parts(minutes, passed):
    check = grade.said(handed({"cpu_minutes": minutes}), "cpu_minutes", 90)
    assert check.passed is passed and "does not say" not in check.said
    assert ("of at most 90" in check.said) == (minutes.replace(".", "0").isdigit() and minutes[0] != ".")


def test_what_is_no_number_is_told_from_what_is_missing():
    assert "the file does not say; save it with" in grade.said(handed({}), "queries", 400).said
    said = grade.said(handed({"queries": "4.5\n" + 50 * "x"}), "queries", 400).said
    assert "the file says '4.5\\nxxxxxxxxxxxxxxxx', not a whole number; save it with" in said and "\n" not in said
    assert "says 'soon', not a number" in grade.said(handed({"cpu_minutes": "soon"}), "cpu_minutes", 90).said


def test_within_two_standard_errors_of_the_figure_is_reached():
    figure = frozen.Figure(0.5, "sem", Path("reference/x.csv"))
    scores = {share: grade.Score(share, 0.01, 0.0, 100) for share in (0.5, 0.481, 0.479)}
    assert [grade.compared(one, figure).passed for one in scores.values()] == [True, True, False]
    assert grade.Score(0.6, 0.01, 0.2, 100).advantage == pytest.approx(0.5)


def test_the_frozen_figure_is_a_row_of_this_release():
    found = frozen.figure(grade.MODEL, grade.QUERIES, ROOT / "reference")
    assert found.path == ROOT / CELL
    rows, floor = pd.read_csv(found.path), pd.read_csv(found.path.with_name(paths.FLOOR_FILE))
    ended = rows[(rows.steps > 0) & (rows.metric == "agreement")]
    public = floor[floor.predictor == "trigram"]
    own = (ended.value * ended.n).sum() / ended.n.sum()
    guessed = (public.agreement * public.n).sum() / public.n.sum()
    assert found.advantage == pytest.approx((own - guessed) / (1 - guessed))
    assert ended.queries.max() <= grade.QUERIES and set(ended.secured) == {"layers 0"}
    assert frozen.figure(grade.MODEL, 10, ROOT / "reference").advantage < found.advantage
    assert frozen.figure("none", grade.QUERIES, ROOT / "reference") is None
