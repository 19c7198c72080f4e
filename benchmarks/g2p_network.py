"""Pronounces the words on stdin by the network of g2p-en, a line each. Runs in an environment of its own.

The network alone is asked, not the dictionary that g2p-en looks a word up in first. So the data of NLTK, which that
dictionary and the handling of sentences need, is not downloaded.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace

import nltk

nltk.data.find = lambda *_: None
nltk.corpus.cmudict = SimpleNamespace(dict=dict)

from g2p_en.g2p import G2p  # noqa: E402

network = G2p()
for line in sys.stdin:
    sys.stdout.write(" ".join(network.predict(line.strip())) + "\n")
