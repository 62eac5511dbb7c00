"""What the paper published: its tables as CSV, its claims, and which cells not to trust.

In: published/*.csv, typed from the paper.
Out: tables and numbers as printed, in percent.
Public: paper.published_table, paper.result_table, said.CLAIMS, paper.uncertain, paper.ceilings.
"""
