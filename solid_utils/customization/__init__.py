"""The customer's side: fine-tune what is open (paper 5.3, B.6).

In: a study and the names of a model and a run.
Out: a customized model, scores before and after.
Public: customization.CustomizationRun.
"""
