"""From a file of pairs to a bundle with honest error rates. The modules stand in the order in which a run uses them."""
