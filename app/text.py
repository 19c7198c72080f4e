"""Words for people that more than one part of the service needs."""


def clipped(text: str, length: int = 200) -> str:
    """Text in ASCII, its middle left out where it is longer than `length`: fit to be sent back to whoever sent it."""
    text = text.encode("ascii", "backslashreplace").decode("ascii")
    return text if len(text) <= length else f"{text[: length // 2]}...{text[-(length // 2) :]}"
