"""Losses on answers, in pieces."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from solid_utils.model import answers
from tests.conftest import VOCABULARY, build


@pytest.mark.parametrize("cached", [1, 3 * VOCABULARY, 2**40])
@pytest.mark.parametrize("logit_rows", [2, 1024])
def test_pieces_of_logits_give_the_same_bits_and_plain_cross_entropy(cached, logit_rows, monkeypatch):
    model, draw = build("llama"), torch.Generator().manual_seed(0)
    rows = [torch.randint(1, VOCABULARY, (length,), generator=draw).tolist() for length in (5, 9, 9, 12)]
    samples = [{"input_ids": row, "answer_start": 1 + len(row) // 3} for row in rows]

    def losses():
        (batch,) = answers.batches(samples, 0, torch.device("cpu"))
        with torch.inference_mode():
            found = answers.sample_losses(model, batch, (1.0, 0.5))
        return {index: found[place].tolist() for place, index in enumerate(batch.indices)}

    whole = losses()
    monkeypatch.setattr(answers, "CACHED", cached)
    monkeypatch.setattr(answers, "LOGIT_ROWS", logit_rows)
    in_pieces = losses()
    if logit_rows == 1024:
        assert in_pieces == whole
    for index, sample in enumerate(samples):
        ids, start = torch.tensor([sample["input_ids"]]), sample["answer_start"]
        logits = model(ids).logits[0, start - 1 : -1]
        plain = [cross_entropy(scale * logits, ids[0, start:]).item() for scale in (1.0, 0.5)]
        assert in_pieces[index] == pytest.approx(plain, rel=1e-5)
