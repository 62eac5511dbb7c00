"""Scores of a model: fidelity to the victim, benchmarks through lm-eval, generated code in a sandbox (paper 5.1, B.5).

In: a model, its tokenizer, sets and task files.
Out: Scored: rows and the items behind them.
Public: fidelity.held_out, evaluation.run_benchmarks, published_tasks.run_suite, mt_bench.mt_bench, sandbox.passes,
    baseline.measure.
"""
