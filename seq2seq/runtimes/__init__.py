"""Runtimes: a bundle's graphs as a network. Each is imported only where it is asked for."""
