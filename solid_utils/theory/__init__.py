"""Theorem 1 of the paper, each step of its proof as something that can be computed: numpy, float64, no model.

In: shapes, norms and seeds.
Out: arrays, numbers, and the rows of results/theory/steps.csv.
Public: attention.weights, attention.layer, lemmas.survey, stack.run, stack.harm_by_place,
counterexamples.symmetric_depths.
"""
