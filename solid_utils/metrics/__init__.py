"""How much of the victim a replica has, how sure that is, and what it cost: formulas over tables, no model.

In: pandas tables of scores, items and attack points.
Out: numbers, intervals, fits.
Public: metrics.chance_corrected_ratio, intervals.resample, intervals.interval, censored.fit, attack_cost.costs,
    power.detectable, power.lift.
"""
