"""Which layers of a model of your own to secure: plan, search, one-page card.

In: a checkpoint, prompts with answers, a memory limit.
Out: build/cards/MODEL.md.
Public: recommend.main, plan.Planner, card.card.
"""
