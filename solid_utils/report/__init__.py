"""From result files to tables, figures, verdicts and pages. No torch.

In: results/ or reference/MACHINE/.
Out: tables/*.csv, figures/*.png and *.svg, metrics.json, report.html and pages/*.html.
Public: report.Report, results.load, catalogue.make, verdicts.claim_table, compare.compare.
"""
