"""Proofs: what is known of a network over every request that its problem accepts, and how it is known.

Imports run one way: intervals ← graph ← bounds ← proof ← listed, and running, weakest ← proof, and loop ← listed. Only
`graph`, `loop`, `proof` and `listed` need more than NumPy.
"""
