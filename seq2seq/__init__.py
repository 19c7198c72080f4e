"""The domain: vocabularies, problems, greedy decoding and the bundle format.

Everything here is NumPy and the standard library; `onnx_runtime`, which nobody but its callers imports,
is the one exception. It knows neither Keras nor HTTP: `training` fits what is described here, `app` serves it.
"""
