"""The servers that are compared with the service, one module each. contenders.py has the command that runs each.

They read these environment variables: BENCH_ROUTE, BENCH_PORT, BENCH_CORES, APP_MODELS_DIR.
"""
