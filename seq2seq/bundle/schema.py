"""The manifest's file as a strict schema: its fields, their types and their limits.

The only module of `seq2seq` that uses pydantic. Knows nothing of whether the fields agree with each other.
"""

from __future__ import annotations

from re import Pattern
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError

from seq2seq.bundle.manifest import FORMAT, MANIFEST, MOST_FILE_BYTES, PLAIN_NAME, PLAIN_PATH, SHA_256
from seq2seq.decoding import Family


def _text(pattern: Pattern[str], words: str) -> AfterValidator:
    def matching(text: str) -> str:
        if not pattern.fullmatch(text) or text == MANIFEST:
            raise ValueError(words)
        return text

    return AfterValidator(matching)


def _with_fraction(value: object) -> object:
    if type(value) is int:  # pydantic takes integers for floats even where it is strict
        raise ValueError("it must be a number with a fraction")
    return value


def _filled(items: Any) -> Any:
    if not items:
        raise ValueError("it must not be empty")
    return items


Name = Annotated[str, _text(PLAIN_NAME, "it must hold 1 to 100 letters, digits, '-', '_' and '.' only")]
FilePath = Annotated[str, _text(PLAIN_PATH, "it must be a plain path inside the bundle")]
Digest = Annotated[str, _text(SHA_256, "it must be 64 hexadecimal digits")]
Count = Annotated[int, Field(ge=0)]
Sizes = Annotated[tuple[Annotated[int, Field(gt=0)], ...], AfterValidator(_filled)]
Real = Annotated[float, BeforeValidator(_with_fraction)]
Share = Annotated[Real, Field(ge=0, le=1)]
NotNegative = Annotated[Real, Field(ge=0)]
"""A share of symbols that are wrong may be above 1, for answers may be longer than what is right."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Network(_Part):
    family: Family
    encoder_units: Sizes
    decoder_units: Sizes
    parameters: Count
    reversed_source: bool
    embedding_units: Count = 0


class Rates(_Part):
    """The fields of `seq2seq.evidence.ErrorRates`, and its sentence."""

    tested: Annotated[int, Field(gt=0)]
    wrong: Count
    symbols: Annotated[int, Field(gt=0)]
    symbol_errors: Count
    wrong_interval: tuple[Share, Share]
    symbol_interval: tuple[NotNegative, NotNegative]
    temperature: Annotated[Real, Field(gt=0)]
    calibration_error: Share
    uncalibrated_error: Share
    reliability: tuple[tuple[Count, Share, Share], ...]
    batch_sizes: Sizes
    pairs: Digest
    graph: Digest
    runtime: str
    sentence: str


class Evaluation(_Part):
    """The fields of `seq2seq.evidence.Proof`, and its sentence."""

    domain: Count
    by_enumeration: Count
    by_bounds: Count
    tried: Count
    wrong: Count
    held_out: Count
    held_out_wrong: Count
    least_margin: Real
    weakest: Any
    weakest_margin: Real
    largest_difference: Annotated[Real, Field(ge=0)]
    batch_sizes: Sizes
    graph: Digest
    runtime: str
    sentence: str


class Compared(_Part):
    compared: Count
    agreed: Count
    largest_difference: Share


class Agreement(_Part):
    keras: Compared
    separate_graphs: Compared


class Example(_Part):
    request: Any
    decoded: Any
    confidence: Share


class File(_Part):
    sha256: Digest
    size: Annotated[int, Field(ge=0, le=MOST_FILE_BYTES)]


EVIDENCE = ("proof", "rates")
"""What pydantic puts into the path to a field of an evaluation."""


def _kind_of_evidence(value: object) -> str:
    return EVIDENCE[isinstance(value, dict) and "tested" in value]


class ManifestFile(_Part):
    """A manifest as it stands in its file. The record of the training is for people; only its recipe is looked at."""

    format: Literal[3]
    name: Name
    version: Name
    problem: dict[str, Any]
    vocabularies: dict[str, Any]
    lengths: dict[str, Any]
    network: Network
    training: dict[str, Any]
    evaluation: Annotated[
        Annotated[Evaluation, Tag("proof")] | Annotated[Rates, Tag("rates")], Discriminator(_kind_of_evidence)
    ]
    agreement: Agreement
    golden: Annotated[tuple[Example, ...], AfterValidator(_filled)]
    files: dict[FilePath, File]
    seal: Digest


def read(content: bytes) -> ManifestFile:
    """What a manifest's JSON holds. Raises `ValueError` that says in one line what is wrong first, and where."""
    try:
        return ManifestFile.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    *holders, last = (str(part) for part in first["loc"] if part not in EVIDENCE)
    holder = ".".join(holders) or "the manifest"
    place = ".".join([*holders, last])
    if first["type"] == "extra_forbidden":
        raise ValueError(f"{holder:.100} has {last!r:.60}, which format {FORMAT} does not know")
    if first["type"] == "missing":
        raise ValueError(f"{place} is missing")
    if last == "[key]":
        place = f"a name in {'.'.join(holders[:-1])}"
    words = first["msg"].removeprefix("Value error, ").replace("Input should", "it must")
    raise ValueError(f"{place:.100} is {first['input']!r:.60}; {words}")
