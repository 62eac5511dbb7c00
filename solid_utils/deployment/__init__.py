"""A deployment: which parameters are secret, what is seen, where a thief begins, what securing costs (paper 3, B.3).

In: a model and a declaration such as 'layers 0-3' or 'solid'.
Out: names of secret parameters, a view, an oracle, initial weights.
Public: secured.secured_set, deployment_set.deployment_set, view.view, frozen.frozen, oracle.Oracle, starts.draw,
cost.cost, drawing.column.
"""
