"""The servers that are compared with the service, one module each, run as `python -m benchmarks.servers.NAME`.

They read these environment variables: BENCH_ROUTE, BENCH_PORT, BENCH_CORES, APP_MODELS_DIR.
"""
