"""Benchmarks that anyone can run: serving, start-up and training, each against its peers, interleaved in one run.

`python -m benchmarks serving|startup|training|cost --json FILE`, or `make bench`. README.md has the method and the
results. Nothing imports this package; it imports all the others.
"""
