"""Distillation difficulty DD(I) of any secured set, the SOLID search (paper 4.2), and scores that look inside the set.

In: a victim in memory or streamed from disk, samples, secured sets.
Out: losses a sample, DD with errors, l*; seven other scores without training.
Public: difficulty.Difficulty, difficulty.solid_search, scores.Scores, sweep.Sweep, weights.InMemory, weights.Streamed,
drawing.tree.
"""
