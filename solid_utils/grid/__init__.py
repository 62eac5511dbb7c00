"""Many attack runs, the cheapest first, each a cell of its own; what logits alone give away.

In: a study and its grid section.
Out: reference/MACHINE/grid/MODEL/*.csv.
Public: grid.Grid, cell_run.CellRun, cells.cells, leaks.measured.
"""
