"""From result files to tables, figures, verdicts and one page. No torch.

In: results/ or reference/MACHINE/.
Out: tables/*.csv, figures/*.png, metrics.json, report.html.
Public: report.Report, results.load, catalogue.make, verdicts.claim_table, compare.compare.
"""
