"""The course: a graded attack, and the tiny study that JupyterLab falls back to where none ran.

In: a replica's file and a seed; a victim and its sets; the shipped rows of reference/.
Out: a rubric on the terminal, status 1 where a check is off; build/lab, which is no stage's output.
Public: grade.main, handed_in.read, frozen.figure, lab.prepare.
"""
