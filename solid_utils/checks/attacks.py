"""Exercises of notebook 03: what an attack asks, and a start that does not know the secret."""

from collections.abc import Mapping

import numpy as np

from solid_utils.checks.verdict import OPEN, RIGHT, mistaken, number, numbers, other_type


def queries(answer: int | None, asked: int, training: int, validation: int, trained_on: int) -> str:
    """`answer`: how many texts the attacker asks the victim about.

    `asked`: what the run counts; `training`, `validation`: its texts; `trained_on`: training texts, each as often as it
    was trained on. Raises StudyError that names the likely mistake.
    """
    mistakes = {
        "you counted what is trained on; what is validated on is asked as well": training,
        "a text that is trained on again is not asked again": trained_on,
        "a text that is trained on again is not asked again, and what is validated on is asked too": (
            trained_on + validation
        ),
        "that is what is validated on alone": validation,
    }
    if asked == training:  # a map in closed form chooses on its own texts
        mistakes = {"this attack validates on none of the victim's answers": training + validation} | mistakes
    return number("queries", answer, asked, mistakes)


def start(answer: Mapping[str, object] | None, secret: Mapping[str, object]) -> str:
    """`answer`: a start for the secret tensors, by name. `secret`: the victim's, which only this check may look at.

    Tensors or arrays. Raises StudyError that names the likely mistake.
    """
    if answer is None:
        return OPEN
    if not isinstance(answer, Mapping):
        raise other_type("start", "a tensor for each secret name, as a dict,", answer)
    if missing := [name for name in secret if name not in answer]:
        raise mistaken("start", f"no {missing[0]}: every secret tensor needs a start")
    if foreign := [name for name in answer if name not in secret]:
        raise mistaken("start", f"{foreign[0]} is open: a start leaves what is open as it is")
    for name, theirs in secret.items():
        own, wanted = scalars(name, answer[name]), scalars(name, theirs)
        if own.shape != wanted.shape:
            raise mistaken("start", f"{name} is {own.shape}, the architecture says {wanted.shape}")
        if not np.isfinite(own).all():
            raise mistaken("start", f"{name} is still not a number: you left it as the open part has it")
        if own.ndim > 1 and np.array_equal(own, wanted):  # norms are ones in any model that was not trained
            raise mistaken("start", f"{name} is the victim's own: you read the secret, and not the layer beside it")
    return RIGHT


def scalars(name: str, tensor: object) -> np.ndarray:
    """A tensor or an array as float64, without importing torch. Raises StudyError where it is neither."""
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu().double().numpy()
    return numbers("start", name, tensor)
