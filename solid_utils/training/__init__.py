"""Training of named parameters, exact to resume: Hugging Face Trainer, pieces of a batch, processes, memory, LoRA.

In: a model, names, samples, a loss, a Recipe.
Out: the model trained in place, its history.
Public: training.train, training.answer_loss, recorded.record, checkpoints.Checkpoints, parallel.shard, memory.needs,
lora.wrapped.
"""
