"""Count tokens in text, on request, with a tokenizer from a local file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from continuum_sim.traces.errors import TraceError


class Tokens:
    """A Hugging Face tokenizer.

    Parameters
    ----------
    path
        A ``tokenizer.json``, or a folder with one (as in every model repository). Nothing is downloaded.

    Raises
    ------
    TraceError
        If the library or the file is missing, or the file is not a tokenizer.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise TraceError(
                "counting tokens needs the library tokenizers: pip install 'continuum-sim[tokenizer]'"
            ) from None
        file = Path(path)
        if file.is_dir():
            file /= "tokenizer.json"
        if not file.is_file():
            raise TraceError("no tokenizer there, expected a tokenizer.json or the folder that holds one", path=file)
        try:
            self._tokenizer: Any = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises plain Exception
            raise TraceError(f"not a tokenizer: {error}", path=file) from None
        self.name = file.resolve().parent.name if file.name == "tokenizer.json" else file.stem

    def ids(self, text: str) -> list[int]:
        """Return the token ids of ``text``, without special tokens."""
        # A lone surrogate, which JSON can spell, has no bytes and therefore no tokens.
        clean = text.encode("utf-8", "replace").decode("utf-8")
        ids: list[int] = self._tokenizer.encode(clean, add_special_tokens=False).ids
        return ids

    def count(self, text: str) -> int:
        """Return how many tokens ``text`` has."""
        return len(self.ids(text))
