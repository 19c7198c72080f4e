"""The routes: each module makes a few, from what they need. All that they know of models is a `Predictor`."""
