"""Exercises of notebook 06: bytes that cross the door, a policy against an attack, and what gradients add."""

from collections.abc import Sequence
from numbers import Real

from solid_utils.checks.verdict import NO_NUMBER, OPEN, RIGHT, mistaken, number

LIMITS = ("tokens_session", "tokens_day", "sequences_session", "sequences_day")
FIRST_ANSWER = 64  # tokens of a prompt and a short answer: what a policy has to let through


def state_bytes(answer: int | None, width: int, scalar: int) -> str:
    """`answer`: bytes of state that cross the door for a token, each way. `scalar`: bytes of one.

    Raises StudyError that names the likely mistake.
    """
    mistakes = {
        "a state has as many scalars as the model is wide, each of some bytes": width,
        "each way is asked, not both together": 2 * width * scalar,
        "those are bits": 8 * width * scalar,
    }
    if scalar == 4:
        mistakes["these weights are float32, so a scalar takes 4 bytes"] = 2 * width
    return number("bytes of a state", answer, width * scalar, mistakes)


def policy(answer: object | None, lengths: Sequence[int]) -> str:
    """`answer`: a Policy that lets a customer generate and stops an attack with texts of these lengths in tokens.

    Returns "right" and what is still open. Raises StudyError that names the likely mistake.
    """
    if answer is None:
        return OPEN
    limits = getattr(answer, "limits", None)
    if not all(isinstance(getattr(limits, name, ""), Real | None) for name in LIMITS):
        raise mistaken("policy", "a Policy is asked: Policy(limits=Limits(...))")
    tokens = [most for most in (limits.tokens_session, limits.tokens_day) if most is not None]
    sequences = [most for most in (limits.sequences_session, limits.sequences_day) if most is not None]
    if any(most < FIRST_ANSWER for most in tokens) or any(most < 1 for most in sequences):
        raise mistaken("policy", f"no customer gets an answer: let {FIRST_ANSWER} tokens of one text through")
    if not tokens and not sequences:
        raise mistaken("policy", "nothing ends: limit tokens or sequences; a rate or a frame only slows an attack")
    if all(most >= sum(lengths) for most in tokens) and all(most >= len(lengths) for most in sequences):
        raise mistaken("policy", f"the attack asks {sum(lengths)} tokens in {len(lengths)} texts, and passes")
    if limits.tokens_day is None and limits.sequences_day is None:
        return f"{RIGHT}, but another session goes on where this one ends; and a customer's training ends here too"
    return f"{RIGHT}; a customer's own training ends here too"


def gradients(answer: tuple | None) -> str:
    """`answer`: (answers, agreement) of a replica trained on states, then of one trained on gradients as well.

    Agreement as a share. Raises StudyError that names the likely mistake.
    """
    if answer is None:
        return OPEN
    try:
        (plain, without), (asked, with_gradients) = [[float(value) for value in pair] for pair in answer]
    except NO_NUMBER:
        raise mistaken(
            "gradients", "two pairs of numbers are asked: ((answers, agreement), (answers, agreement))"
        ) from None
    if plain != asked:
        raise mistaken("gradients", f"{plain:g} answers against {asked:g}: compare at equal numbers")
    if not all(0 <= share <= 1 for share in (without, with_gradients)):
        raise mistaken("gradients", "agreement is a share between 0 and 1, not percent")
    if without == with_gradients:
        raise mistaken("gradients", "the same to the last digit: is the term with the gradients in the loss?")
    return f"{RIGHT}: {with_gradients - without:+.1%} of agreement by gradients"
