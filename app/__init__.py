"""The service: HTTP in, HTTP out, and between them bundles of `models/`, run in batches.

    serving ← http ← operations ← api, inference_protocol ← main

Each part imports those to its left. `serving` predicts and knows no HTTP. Nothing imports `training`, and Keras is
loaded only if the setting `runtime` asks for TensorFlow. docs/architecture.md walks a request through the parts.
"""

VERSION = "1.0.0"
