"""Proofs: what is known of a network over every request that its problem accepts, and how it is known.

Imports run one way: intervals ← graph ← bounds ← proof, and running, weakest ← proof. Only `graph` and `proof` need
more than NumPy.
"""
