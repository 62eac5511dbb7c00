import pytest

from solid_utils.errors import StudyError
from solid_utils.secured import decoder_layers, parameters_after_layers, secured_set


def test_layers_are_found_by_structure(model):
    path, layers = decoder_layers(model)
    assert len(layers) == 4
    inside = [name for name, _ in model.named_parameters() if name.startswith(f"{path}.")]
    assert set(secured_set(model, "layers 0-3").names) == set(inside)


def test_fully_secured_is_every_parameter(model):
    chosen = secured_set(model, "fully_secured")
    assert chosen.is_whole_model and chosen.share == 1
    assert chosen.parameters == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("declaration", "layers"),
    [
        ("layers 0-2", (0, 1, 2)),
        ("layers 3,1", (1, 3)),
        ("bottom 2", (0, 1)),
        ("top 1", (3,)),
        ("darknetz", (3,)),
        ("layer 2", (2,)),
    ],
)
def test_declarations(llama, declaration, layers):
    chosen = secured_set(llama, declaration)
    assert chosen.layers == layers and chosen.only_layers
    assert chosen.is_bottom == (layers == tuple(range(len(layers))))


def test_solid_needs_the_search(llama):
    assert secured_set(llama, "solid", l_star=2).layers == (0, 1)
    with pytest.raises(StudyError, match="dvc repro dd"):
        secured_set(llama, "solid")


def test_sap_secures_what_follows_the_layers(llama):
    assert parameters_after_layers(llama) == {"model.norm.weight", "lm_head.weight"}
    with pytest.raises(StudyError, match="more than 6 decoder layers"):
        secured_set(llama, "sap")


def test_a_tied_head_belongs_to_the_embeddings():
    from tests.conftest import build

    tied = build("llama-tied")
    assert parameters_after_layers(tied) == {"model.norm.weight"}
    with pytest.raises(StudyError, match="tied"):
        secured_set(tied, "head")
    assert secured_set(tied, "embeddings + head").names == ("model.embed_tokens.weight",)


@pytest.mark.parametrize(
    ("declaration", "complaint"),
    [
        ("layers 7", "layer 7 does not exist; layers are 0 to 3"),
        ("bottom 9", "layer 4 does not exist"),
        ("bottom 0", "empty"),
        ("layers 3-1", "empty"),
        ("lowest", "not understood"),
    ],
)
def test_mistakes_get_one_line(llama, declaration, complaint):
    with pytest.raises(StudyError, match=complaint) as caught:
        secured_set(llama, declaration)
    assert "\n" not in str(caught.value) and declaration in str(caught.value)
