"""Checks of the notebooks' exercises: "right", or the likely mistake in one line. They never say the answer.

In: an answer, and what its notebook has measured; no model, no file.
Out: a word, or a StudyError.
Public: verdict.number, verdict.function, theory, scoring, scan, attacks, customization, tables, deployment.
"""
