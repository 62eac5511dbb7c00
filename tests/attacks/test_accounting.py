"""What an attack run is called and what its training costs, counted by hand."""

import pytest

from solid_utils.attacks import accounting
from solid_utils.attacks.sem import Sem
from solid_utils.deployment import described, secured, view
from solid_utils.deployment.secured import secured_set
from solid_utils.model.structure import layer_parameters, parameters_after_layers
from solid_utils.settings.attack_params import Recipe

RECIPE = Recipe(
    batch=2, steps=3, length=8, learning_rate=1e-3, weight_decay=0, schedule="cosine", validate_every=1, loss="mse"
)  # fmt: skip


@pytest.mark.parametrize(
    ("declaration", "word"),
    [
        ("all", "all"),
        ("none", "none"),
        ("bottom 1", "layers 0"),
        ("layers 1-2", "layers 1-2"),
        ("layers 0,2", "layers 0,2"),
        ("layer 0 q", "layer 0 q"),
        ("bottom 1 + embeddings", "bottom 1 + embeddings"),
        ("layers 0 + layer 1 q", "layers 0 + layer 1 q"),
    ],
)
def test_a_row_of_layers_is_named_only_where_nothing_else_is_secret(llama, declaration, word):
    assert described.described(secured_set(llama, declaration)) == word


def test_sap_is_named_by_its_layers(llama):
    names = {name for names in layer_parameters(llama)[1:] for name in names} | parameters_after_layers(llama)
    last = len(layer_parameters(llama)) - 1
    assert described.described(secured.build(llama, "sap_dp", names)) == f"layers 1-{last}"


def test_sem_on_one_matrix_works_through_its_whole_layer(llama):
    one, layer = secured_set(llama, "layer 1 q"), secured_set(llama, "layers 1")
    samples = [{"input_ids": [1] * 8, "answer_start": 8}] * 4
    for chosen in (one, layer):
        attack = Sem(secured=chosen.declaration, attack="sem")
        account = accounting.Account(attack, RECIPE, chosen, view.view(llama, chosen), samples, [], 1, 0, {})
        below = 2 * secured_set(llama, "layers 0").parameters * 4 * 8
        assert attack.flops(account, 3) == 3 * 2 * 8 * (4 * layer.parameters + 2 * chosen.parameters) + below


def test_a_setting_that_a_run_takes_away_is_named():
    attack, usual = Sem(secured="layers 0", attack="sem"), RECIPE.model_copy(update={"warmup_steps": 5})
    assert attack.words(RECIPE, usual).endswith("mse, no warmup_steps")
