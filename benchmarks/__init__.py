"""Benchmarks: our code against a named peer in the same run, as ratios. Never tests: machines differ.

python -m benchmarks [NAME ...]        # all, or some; prints the rows and writes benchmarks/results/NAME.json
"""
