"""Benchmarks that anyone can run: serving, start-up and training, each against its peers, interleaved in one run.

`python -m benchmarks serving|startup|training --json FILE`, or `make bench`. How it is measured, and what came of it,
is in README.md. Nothing imports this package; it imports all the others.
"""
