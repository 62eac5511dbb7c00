"""Distillation difficulty DD(I) of any secured set, and the SOLID search (paper 4.2).

In: a victim in memory or streamed from disk, samples, secured sets.
Out: losses a sample, DD with errors, l*.
Public: difficulty.Difficulty, difficulty.solid_search, sweep.Sweep, weights.InMemory, weights.Streamed,
drawing.tree.
"""
