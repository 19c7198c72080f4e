"""Wrong calls of `fit-pairs` are refused before anything is trained. No Keras is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.__main__ import main


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--name", "a/b"], "--name a/b: it may hold"),
        (["--name", "upper", "--columns", "1"], "--columns takes a source and a target"),
        (["--name", "upper", "--complete", "--test", "pairs.tsv"], "--complete splits FILE itself; leave out"),
        (["--name", "upper", "--resume"], "there is no stopped run of upper"),
        (["--name", "upper", "--dropout", "1"], "dropout is from 0 to less than 1"),
        (["--name", "upper", "--encoder-units", "0"], "encoder_units must be 1 or more layers"),
    ],
    ids=lambda value: value[0:24] if isinstance(value, str) else None,
)
def test_a_wrong_call_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], more: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pairs.tsv").write_text("".join(f"{text}\t{text.upper()}\n" for text in ("a", "ab", "abc", "b", "bc", "c")))
    assert main(["fit-pairs", "pairs.tsv", *more]) == 2
    assert words in capsys.readouterr().err
    assert not Path("models").exists()
