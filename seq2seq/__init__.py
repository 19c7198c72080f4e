"""The domain: vocabularies, problems, greedy decoding and the bundle format.

NumPy and the standard library, with three exceptions: `bundle.schema` uses pydantic, `runtimes` and `proving` use what
runs and reads graphs. Knows nothing of HTTP: `training` fits what is described here, `app` serves it.
"""
