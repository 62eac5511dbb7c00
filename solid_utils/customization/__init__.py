"""The customer's side: fine-tune what is open (paper 5.3, B.6).

In: a study and the names of a model and a run.
Out: a customized model, its adapter, scores before and after.
Public: customization.CustomizationRun, declared.method, declared.check, adapter.save, adapter.load, boundary.Boundary,
noise.in_training, preference.pairs, scoring.published_scores, written.answers,
gsm8k.shown.
"""
