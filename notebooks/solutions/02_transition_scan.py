"""Solutions of notebook 02; from the top of the clone: python notebooks/solutions/02_transition_scan.py"""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from solid_utils.checks import scan
from solid_utils.difficulty import difficulty


# Easy. Half of the way begins at the floor, which is not 0: a victim has a loss of its own.
def transition(values, floor, ceiling):
    for place, value in enumerate(values):
        if value < floor + (ceiling - floor) / 2:
            return place
    return len(values)


print("transition:", scan.transition(transition))

# Medium. In the notebook: pairs = measured(settings.start, [f"layers {i}-{i + 1}" for i in range(depth - 1)]), then the
# mean of each. Here the same on a tiny random model.
torch.manual_seed(0)
shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
victim = LlamaForCausalLM(LlamaConfig(vocab_size=97, initializer_range=0.3, **shape)).eval()
ids = torch.randint(3, 97, (4, 12)).tolist()
samples = [{"id": str(n), "source": "drawn", "input_ids": row, "answer_start": 4} for n, row in enumerate(ids)]
score = difficulty.Difficulty(victim, samples, "xavier", pad_id=0)
sets = ["all", "layers 0", "layers 1", "layers 2", "layers 0-1", "layers 1-2"]
means = {name: difficulty.summary(by_seed)[-1]["dd"] for name, by_seed in score.losses(sets, [20]).items()}
pairs = {name: means[name] for name in sets[4:]}
print("pairs:", scan.pairs(pairs, {name: means[name] for name in sets[1:4]}, means["all"]))
