"""Bundles in, predictions out. Knows no HTTP."""
