"""The bundle format: a directory that holds a trained network and says everything about it.

    models/<name>/<version>/manifest.json          written last, read first
                            training.keras         the model that was fitted
                            encoder.keras|.onnx    source ids → states
                            decoder.keras|.onnx    states → probabilities, or one step of it
                            greedy.onnx            source ids → symbols chosen and their probabilities, all in one
                            report/                a model card and plots, for people

The manifest holds every file's SHA-256. Its last line is the SHA-256 of everything above that line. So nothing in a
bundle can change unnoticed. That is no signature: if somebody changes a file and seals the bundle anew, it is found out
only where the bundle then contradicts itself, or where its network errs. A file that the manifest does not list is
never read.
"""

from seq2seq.bundle.checks import check_answers, check_evidence, check_golden, check_identity
from seq2seq.bundle.manifest import (
    AGREEMENTS,
    FORMAT,
    GRAPHS,
    MANIFEST,
    MOST_FILE_BYTES,
    MOST_MANIFEST_BYTES,
    PLAIN_NAME,
    SEAL,
    BundleError,
    BundleUnreadable,
    FileEntry,
    Golden,
    Manifest,
    NetworkSpec,
    count_parameters,
    derived,
    graphs_of,
)
from seq2seq.bundle.reading import ALTERED, Bundle, check_files, is_unchanged, read, read_manifest
from seq2seq.bundle.writing import seal, with_seal, write_manifest
from seq2seq.decoding import Family

__all__ = [
    "AGREEMENTS",
    "ALTERED",
    "FORMAT",
    "GRAPHS",
    "MANIFEST",
    "MOST_FILE_BYTES",
    "MOST_MANIFEST_BYTES",
    "PLAIN_NAME",
    "SEAL",
    "Bundle",
    "BundleError",
    "BundleUnreadable",
    "Family",
    "FileEntry",
    "Golden",
    "Manifest",
    "NetworkSpec",
    "check_answers",
    "check_evidence",
    "check_files",
    "check_golden",
    "check_identity",
    "count_parameters",
    "derived",
    "graphs_of",
    "is_unchanged",
    "read",
    "read_manifest",
    "seal",
    "with_seal",
    "write_manifest",
]  # fmt: skip
