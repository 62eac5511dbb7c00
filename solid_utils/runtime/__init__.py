"""A deployment that runs: a model split in two, its secured part in a process of its own, the rest the customer's.

In: a model's folder, a declaration such as 'layers 0-3', a key.
Out: an open and a sealed folder, a process that serves the sealed one, a Transformers model that calls it.
Public: split.split, serve.Server, client.SemiOpenForCausalLM, door_oracle.DoorOracle, manifest.read, manifest.Policy,
adaptive.attacked, closed.gained, cost.costs.
"""
