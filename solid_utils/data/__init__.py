"""Raw data become disjoint sets of items (paper B.2): one seeded split, benchmark items.

In: data/, or the hub's data sets.
Out: build/sets/*.jsonl.
Public: sets.write_sets, items.write_benchmarks, mutants.mutants.
"""
