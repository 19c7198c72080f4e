"""The study: which networks become exact, on which problems, how far beyond their training, and at what cost."""
