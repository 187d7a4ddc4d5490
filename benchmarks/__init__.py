"""Measurements of the library beside others: ``make bench``, or ``make bench CASES="name name"`` for a part.

Cases are data (``cases.yaml``), a rival is a file (``rivals/``), results are CSV (``results/``), and BENCHMARKS.md is
made from them.
"""
