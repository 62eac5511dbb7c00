"""A secured set as result files name it: in words, and in the facts that tables and verdicts go by."""

from solid_utils.deployment.secured import SecuredSet


def described(secured: SecuredSet) -> str:
    """The secured layers in one word: "layers 0-3", "all", ...; a set that is no row of layers as it was declared.

    `sap` and `sap_dp` are named by their layers: the norm and untied head that are secret too belong to the rule.
    """
    if secured.is_whole_model:
        return "all"
    if not secured.names:
        return "none"
    first, last = (secured.layers[0], secured.layers[-1]) if secured.layers else (0, -1)
    nothing_else = secured.only_layers or secured.declaration in ("sap", "sap_dp")
    if not nothing_else or secured.layers != tuple(range(first, last + 1)):
        return secured.declaration
    return f"layers {first}" if first == last else f"layers {first}-{last}"


def facts(secured: SecuredSet) -> dict:
    """Columns schema.SECURED."""
    return {
        "secured": described(secured),
        "parameters": secured.parameters,
        "share": secured.share,
        "depth": len(secured.layers),
        "lowest": secured.layers[0] if secured.layers else None,
        "highest": secured.layers[-1] if secured.layers else None,
        "only_layers": secured.only_layers,
    }
