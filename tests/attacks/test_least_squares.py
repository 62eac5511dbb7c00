"""Exact least squares: one secret matrix from what enters and leaves it, with as many tokens as it has inputs."""

import pytest
import torch

from solid_utils.attacks import least_squares
from solid_utils.attacks.least_squares import BATCH, drawn, shares, solved
from solid_utils.core import schema
from solid_utils.core.errors import StudyError
from solid_utils.deployment.oracle import Oracle
from solid_utils.deployment.secured import secured_set
from solid_utils.deployment.view import view
from solid_utils.model.models import clone, open_part
from tests.attacks.test_run import SEED, attack, place  # noqa: F401 (fixtures)
from tests.conftest import VOCABULARY, build

MATRICES = [
    ("llama", "layer 0 k", 16, 8),
    ("llama", "layer 2 o", 16, 16),
    ("llama", "layer 1 gate", 16, 32),
    ("llama", "layer 0 down", 32, 16),
    ("gemma3", "layer 1 down", 32, 16),
    ("qwen2", "layer 1 k", 17, 8),  # with its bias
    ("mistral", "layer 3 v", 16, 8),
    ("gpt2", "layer 0 o", 17, 16),  # stored the other way round
    ("llama", "head", 16, VOCABULARY),
]


def attacked(model, declaration, queries=4, batch=BATCH, times=1):
    """What the attacker finds, the oracle he asked, and the true weight (outputs, inputs) and bias."""
    secured = secured_set(model, declaration)
    oracle, one = Oracle(model, secured, 0), view(model, secured).matrix
    draws = [drawn(shares(times * one.unknowns, queries, 64), VOCABULARY, SEED, number) for number in range(8)]
    samples = least_squares.best(open_part(model, secured.names), one, draws, 64)
    module = model.get_submodule(one.path)
    bias = None if module.bias is None else module.bias.detach().double()
    return *solved(oracle, samples, batch), oracle, one.stored(module.weight.detach().double()), bias


def apart(found: torch.Tensor, true: torch.Tensor) -> float:
    return ((found - true).norm() / true.norm()).item()


@pytest.mark.parametrize(("architecture", "declaration", "tokens", "outputs"), MATRICES)
def test_as_many_tokens_as_unknowns_give_the_matrix_away(architecture, declaration, tokens, outputs):
    model = build(architecture)
    with torch.no_grad():  # a bias that is zero shows nothing
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    weight, bias, oracle, true, true_bias = attacked(model, declaration)
    assert oracle.tokens == tokens and oracle.sequences == 4 and weight.shape == true.shape
    assert weight.shape[0] == outputs and apart(weight, true) < 1e-4
    assert bias is None if true_bias is None else apart(bias, true_bias) < 1e-3


def test_it_is_numpys_pseudo_inverse():
    """W = Y X^+, from states that plain Transformers hooks saw."""
    model, seen = build("llama"), {}
    module = model.model.layers[0].self_attn.k_proj
    weight = attacked(model, "layer 0 k")[0]
    ids = torch.randperm(VOCABULARY, generator=torch.Generator().manual_seed(3))[None, :40]
    hook = module.register_forward_hook(lambda _, inputs, output: seen.update(inputs=inputs[0][0], outputs=output[0]))
    with torch.no_grad():
        model(ids)
    hook.remove()
    by_numpy = torch.linalg.pinv(seen["inputs"].double()) @ seen["outputs"].double()
    assert apart(weight, by_numpy.T) < 1e-4


def test_what_no_text_reaches_is_left_out_and_the_rest_is_exact():
    """Behind a LayerNorm without bias inputs sum to nothing: one direction of each row of W is nobody's to know."""
    model = build("phi")
    weight, bias, _, true, true_bias = attacked(model, "layer 0 q")
    assert apart(weight, true) > 1e-3
    inputs = torch.nn.functional.layer_norm(torch.randn(50, 16, dtype=torch.float64), (16,))
    torch.testing.assert_close(inputs @ weight.T + bias, inputs @ true.T + true_bias, rtol=1e-3, atol=1e-3)


def test_how_texts_are_batched_changes_nothing():
    one, many = (attacked(build("llama"), "layer 1 up", 5, batch)[0] for batch in (1, 16))
    assert apart(one, many) < 1e-5


def test_more_tokens_average_the_rounding_of_bfloat16():
    """Products in bfloat16 leave eight bits of what leaves the matrix."""
    with torch.autocast("cpu", torch.bfloat16):
        once, often = (apart(*attacked(build("llama"), "layer 1 gate", times=times)[::3][:2]) for times in (1, 8))
    assert often < 0.02 and often < once / 4


def test_what_it_costs_counted_by_hand():
    one = view(build("qwen2"), secured_set(build("qwen2"), "layer 1 k")).matrix
    assert one.unknowns == 17 and one.outputs == 8
    once = 10 * 2 * 17 * 1000 + (8 * 8 + 20) * 17**3 // 3 + 12 * 17**3 + 2 * 17**2 * 8
    assert least_squares.cost(one, 1000, 1) == once
    twice = 10 * 2 * 34 * 1000 + (8 * 20 + 44) * 17**3 // 3 + 16 * 17**3 + 2 * 17**2 * 8
    assert least_squares.cost(one, 1000, 2) == twice


def test_the_secret_is_in_no_input():
    """Which tokens are asked follows from the open part: another secret matrix, the same tokens."""
    model, other = build("llama"), clone(build("llama"))
    with torch.no_grad():
        other.model.layers[0].self_attn.o_proj.weight.mul_(-3)
    chosen = []
    for victim in (model, other):
        secured = secured_set(victim, "layer 0 o")
        draws = [drawn(shares(16, 2, 64), VOCABULARY, SEED, number) for number in range(8)]
        chosen.append(least_squares.best(open_part(victim, secured.names), view(victim, secured).matrix, draws, 64))
    assert chosen[0] == chosen[1]
    assert apart(attacked(other, "layer 0 o")[0], -3 * model.model.layers[0].self_attn.o_proj.weight) < 1e-4


def test_fewer_tokens_fail_and_say_so(llama):
    with pytest.raises(
        StudyError, match="takes 576 independent tokens, 4 queries of at most 128 are 512; ask at least 5"
    ):
        shares(576, 4, 128)
    oracle = Oracle(llama, secured_set(llama, "layer 0 k"), 0)
    with pytest.raises(StudyError, match=r"15 tokens leave model.layers.0.self_attn.k_proj open, it takes 16 indep"):
        solved(oracle, drawn([8, 7], VOCABULARY, SEED, 0))
    secured = secured_set(llama, "layer 0 o")
    single = [drawn([1] * 16, VOCABULARY, SEED, number) for number in range(8)]  # such tokens look at themselves alone
    with pytest.raises(
        StudyError, match=r"16 tokens reach 8 of 16 directions of what enters .*o_proj; ask fewer and lo"
    ):
        least_squares.best(open_part(llama, secured.names), view(llama, secured).matrix, single, 64)


def test_tokens_are_shared_out_evenly():
    assert shares(576, 5, 128) == [116, 115, 115, 115, 115] and shares(5, 10, 8) == [3, 2]
    ids = [token for sample in drawn(shares(90, 4, 64), VOCABULARY, SEED, 0) for token in sample["input_ids"]]
    assert len(ids) == len(set(ids)) == 90
    assert drawn([4], VOCABULARY, SEED, 1) != drawn([4], VOCABULARY, SEED, 0) == drawn([4], VOCABULARY, SEED, 0)


@pytest.mark.parametrize("declaration", ["layers 0", "layer 0 q,k", "layers 0,1 k", "embeddings", "all", "none"])
def test_more_than_one_matrix_is_refused(llama, declaration):
    secured = secured_set(llama, declaration)
    assert view(llama, secured).matrix is None
    with pytest.raises(StudyError, match="is not one matrix; secure one, such as layer 0 k, or use attack: stitch"):
        Oracle(llama, secured, 0).operands(torch.tensor([[1]]), torch.tensor([[1]]))


def test_a_run_says_what_was_seen_asked_and_found(attack, tmp_path):  # noqa: F811
    run = attack("exact")
    history = run.train(SEED)
    assert [row["step"] for row in history] == [0, run.account.steps]
    before, after = run.row(SEED, 0), run.row(SEED, run.account.steps)
    assert (before["queries"], before["flops"], after["queries"]) == (0, 0, 16)
    assert after["tokens"] == run.width == sum(run.account.lengths)
    assert after["view"] == "input and output of model.layers.0.self_attn.k_proj"
    assert after["numbers"] == run.victim.model.layers[0].self_attn.k_proj.out_features
    assert after["recipe"] == "least squares in float64, best conditioned of 8 draws of tokens"
    (run.start_scores(SEED).of(before) + run.end_scores(SEED).of(after)).write(tmp_path)
    written = schema.read(tmp_path / "scores.csv", schema.SCORES)
    assert len(written[written["metric"] == "relative_error"]) == 2
    start, end = run.start_scores(SEED).rows, run.end_scores(SEED).rows
    errors = [row["value"] for rows in (start, end) for row in rows if row["metric"] == "relative_error"]
    assert errors[0] > 0.5 and errors[1] < 2**-8  # bfloat16 keeps eight bits
    assert {(row["benchmark"], row["metric"]) for row in start} == {(row["benchmark"], row["metric"]) for row in end}
    assert next(row["value"] for row in end if row["metric"] == "agreement") > 0.95
    changed = {name for name, tensor in run.replica(SEED).named_parameters() if name in run.secured.names}
    assert changed == set(run.secured.names)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("exact-few", r"takes \d+ independent tokens, 1 queries of at most 64 are 64"),
        ("exact-layer", "is not one matrix"),
    ],
)
def test_a_run_that_cannot_work_is_one_line(attack, name, complaint):  # noqa: F811
    with pytest.raises(StudyError, match=complaint) as caught:
        attack(name)
    assert "\n" not in str(caught.value)
