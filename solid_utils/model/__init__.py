"""A causal language model from anywhere: loading, its parts, forwards without waste, samples, unfinished work.

In: a Model section and the sets.
Out: models, token samples, logits at chosen positions, a State that survives a kill.
Public: models.load_victim, tokenizer.load, structure.decoder_layers, forward.answer_logits, layers.DecoderLayers,
    sampling.samples, state.State.
"""
