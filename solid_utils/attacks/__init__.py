"""Distillation attacks (paper 3.1) and some beyond it: what each trains, what a run asks, pays and gets.

In: a study and the names of a model and a run.
Out: replicas, scores, curves, their cost.
Public: run.AttackRun, plan.Plan, launch.train, recorded.Recorded, stitch.fit.
"""
