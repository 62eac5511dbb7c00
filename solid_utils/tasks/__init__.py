"""The offline benchmarks: lm-eval task files, and which of them make a suite.

In: nothing.
Out: names and YAML files.
Public: suites.SUITES, suites.TASKS, suites.RUNS_CODE.
"""
