"""Training, offline: data, networks, fitting, evaluation, export and reports. Never imported by `app`.

Importing the package loads no Keras, so that `verify`, `show` and `list` run without TensorFlow.
"""
