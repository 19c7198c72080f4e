"""The servers that are compared with the service, one module each, run as `python -m benchmarks.servers.NAME`.

What each is started for stands in the environment: BENCH_ROUTE, BENCH_PORT, BENCH_CORES, APP_MODELS_DIR.
"""
