"""Which layers of a model of your own to secure: plan, search, attack, one-page card.

In: a checkpoint, prompts with answers, a memory limit.
Out: build/cards/MODEL.md, with a chart and JSON beside it; an exit status.
Public: recommend.main, plan.Planner, attack.run, card.card, outcome.Outcome.
"""
