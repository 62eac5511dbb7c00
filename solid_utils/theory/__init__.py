"""Theorem 1 of the paper, each step of its proof as something that can be computed; and the same on a real decoder.

In: shapes, norms and seeds; a model and some texts.
Out: arrays, numbers, and the rows of steps.csv and layers.csv (notebook 00).
Public: attention.weights, attention.layer, lemmas.survey, stack.run, stack.harm_by_place,
counterexamples.symmetric_depths, transition.collapse_by_alpha, real.measure.
"""
