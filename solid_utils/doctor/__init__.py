"""Before hours are spent: what the chosen settings need, what this machine has, what is missing, how long it takes.

In: params.yaml, configs/, this machine; no model's weights.
Out: a line a check and a stage; status 1 where something needed is missing.
Public: doctor.main, work.stages, shapes.shape, checks.checks.
"""
