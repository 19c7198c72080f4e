"""The service: HTTP in, HTTP out, and between them bundles of `models/`, run in batches.

    main → routes → json_route, validation, errors     all that knows HTTP
         → predictor → batcher, registry → runtime      all that predicts, and knows nothing of HTTP

It never imports `training`, and Keras only where the setting `runtime` asks for TensorFlow.
"""

VERSION = "1.0.0"
