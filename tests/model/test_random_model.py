"""The tests' own victim: its tokenizer is the same in every process, ties between rare characters or not."""

from solid_utils.model import random_model

RARE = [chr(number) for number in range(0x4E00, 0x4E00 + 300)]


def test_equally_rare_characters_are_kept_in_one_order():
    """300 characters that stand once each, and room for about 90: hash order would keep others each time."""
    texts = ["the cat sat on the mat", *RARE]
    first = random_model.llama2_like(texts, 400)
    kept = {character for character in RARE if character in first.get_vocab()}
    assert kept == set(RARE[: len(kept)]) and 80 < len(kept) < random_model.CHARACTERS
    for order in (texts, texts[::-1]):
        again = random_model.llama2_like(iter(order), 400)
        assert again.get_vocab() == first.get_vocab()


def test_any_text_comes_back():
    tokenizer = random_model.llama2_like(["a b\nc d"] * 3, 300)
    text = "a b\nd ž漢"  # the last two are spelt in bytes
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
