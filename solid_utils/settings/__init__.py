"""What the user turns: params.yaml as typed, checked sections. Nothing here needs a model.

In: params.yaml.
Out: a Params, or one line that names the key and the fix.
Public: params.load, params.Params, attack_params.Recipe, grammar.DEPLOYMENTS, recipe_text.recipe_text.
"""
