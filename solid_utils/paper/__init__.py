"""What the paper published: its tables as CSV, its claims, which cells not to trust, and what contradicts what.

In: published/*.csv, typed from the paper; configs/published.yaml, the registry of its tables and figures.
Out: tables and numbers as printed, in percent.
Public: paper.published_table, paper.result_table, said.CLAIMS, statements.STATEMENTS, registry.load, audit.point,
paper.uncertain, paper.ceilings, confidential.OVERHEADS.
"""
