"""Solutions of notebook 03; from the top of the clone: python notebooks/solutions/03_attacks.py"""

import pandas as pd
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from solid_utils.checks import attacks
from solid_utils.deployment.secured import secured_set
from solid_utils.model import models

# Easy. Each training text once, however often it is trained on, and each validation prompt. The shipped SOLID run: what
# it trained on is in its rows; 24 prompts of the tier `small` are validated on.
rows = pd.read_csv("reference/amd-epyc-2-threads/runs/smollm2-135m/attacks/solid-ft_all/scores.csv")
run = rows[rows["steps"] > 0].iloc[0]
training, validation = 240, 24
print("queries:", attacks.queries(training + validation, run["queries"], training, validation, run["samples"]))

# Hard. Layer 1 is open, so it may be read: each of its tensors for the one of layer 0 that has its place there.
torch.manual_seed(0)
shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
victim = LlamaForCausalLM(LlamaConfig(vocab_size=97, **shape)).eval()
secured = secured_set(victim, "layers 0")
opened = dict(models.open_part(victim, secured.names).named_parameters())
start = {name: opened[name.replace("layers.0.", "layers.1.")] for name in secured.names}
secret = {name: tensor for name, tensor in victim.named_parameters() if name in secured.names}
print("start:", attacks.start(start, secret))
# In the notebook: lay `start` over attack.start(seed), then attack.scores(...) says what it does to the zero-query row.
# Layers do different work: a neighbour's weights know little more of it than random ones (table `grid_tuned`).
