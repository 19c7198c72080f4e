"""How the process lives: signals, workers, connections, logs, metrics."""
