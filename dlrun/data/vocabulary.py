"""From texts to codes and from class names to numbers, and back: what is fitted on the training part.

Codes are right-padded with 0, and 1 stands for a character that training never showed (T34). Characters and class
names travel in the spec (`vocabulary`, `labels`), the folding rule in `preprocessing` (T29, T30).
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from dlrun.errors import DataError, did_you_mean
from dlrun.plain import Values
from dlrun.spec import DataSpec

PADDING, UNKNOWN = "", "\N{REPLACEMENT CHARACTER}"  # what the codes 0 and 1 show as
ROWS = 1 << 16  # that are coded at a time
NAMED = 10  # unknown classes or empty texts that an error names
# Letters that Unicode does not decompose, though everybody writes them so where only ASCII is at hand.
PLAIN = str.maketrans(
    dict(zip("łŁøØđĐðÐıħĦ’ʼʻ‘‐", "lLoOdDdDihH''''-", strict=True))
    | {"ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "þ": "th", "Þ": "Th"}
)


def without_marks(text: str) -> str:
    """A composed text whose letters have lost their marks where they have a plain form: Ř is R.

    Only what ends in ASCII is replaced: the marks of other scripts are letters, no ornaments.
    """
    if text.isascii():
        return text
    out: list[str] = []
    for char in text.translate(PLAIN):
        parts = unicodedata.normalize("NFKD", char)
        plain = "".join(part for part in parts if not unicodedata.combining(part))
        if plain.isascii() and (plain or (out and out[-1].isascii())):
            out.append(plain)
        else:
            out.append(char)
    return "".join(out).strip() or text


class Vocabulary:
    """Texts as codes (N, T) and lengths (N,). `ascii`: letters lose their marks before they are coded."""

    name = "vocabulary"

    def __init__(self, characters: Sequence[str], ascii: bool = False) -> None:
        self.characters, self.ascii = tuple(characters), ascii

    @classmethod
    def fit(cls, texts: Iterable[str], ascii: bool = False) -> Vocabulary:
        """The characters of folded texts, sorted, after padding and unknown."""
        return cls([PADDING, UNKNOWN, *sorted({char for text in texts for char in text} - {UNKNOWN})], ascii)

    @classmethod
    def of(cls, spec: DataSpec) -> Vocabulary:
        """The vocabulary of a spec, also of one that a version before 0.2 wrote."""
        step: Values = next(iter((spec.preprocessing.get("inputs") or [[]])[0]), {})
        return cls(spec.vocabulary, bool(step.get("ascii", spec.preprocessing.get("ascii", False))))

    def state(self) -> Values:
        """The folding rule; the characters are the spec's `vocabulary`."""
        return {"name": self.name, "ascii": self.ascii}

    def fold(self, text: str) -> str:
        """The text, composed, without surrounding blanks; with `ascii`, letters lose their marks."""
        composed = unicodedata.normalize("NFC", text.strip())
        return without_marks(composed) if self.ascii else composed

    def apply(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Codes (N, T) and lengths (N,), both int64, in the order given (T33); T is the longest length here.

        Raises `DataError` for an empty list and for texts with nothing in them, by their position.
        """
        blank = [str(place) for place, text in enumerate(texts, start=1) if not text.strip()]
        if blank or not texts:
            numbers = ", ".join(blank[:NAMED])
            raise DataError(f"names to encode: number {numbers} is empty." if blank else "no names given.")
        codes, lengths = self.encode_folded([self.fold(text) for text in texts])
        return codes.to(torch.int64), lengths

    def encode_folded(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Codes (N, T) of texts that are folded already, uint8 where they fit, and lengths (N,) int64."""
        points, numbers = self.table
        lengths = torch.tensor([len(text) for text in texts], dtype=torch.int64)
        longest = int(lengths.max())
        codes = np.zeros((len(texts), longest), np.uint8 if len(self.characters) <= 256 else np.int32)
        for begin in range(0, len(texts), ROWS):
            rows = [text.ljust(longest) for text in texts[begin : begin + ROWS]]
            chars = np.frombuffer("".join(rows).encode("utf-32-le", "surrogatepass"), np.uint32).reshape(-1, longest)
            place = points.searchsorted(chars).clip(max=len(points) - 1)
            codes[begin : begin + ROWS] = np.where(points[place] == chars, numbers[place], 1)
        codes[np.arange(longest) >= lengths.numpy()[:, None]] = 0
        return torch.from_numpy(codes), lengths

    @cached_property
    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """Code points in order, and the code of each."""
        first = 2 if self.has_unknown else 0
        known = sorted((ord(char), code) for code, char in enumerate(self.characters) if code >= first)
        points, numbers = (np.array(column, np.int64) for column in zip(*known, strict=True))
        return points, numbers

    @property
    def has_unknown(self) -> bool:
        """Are there codes for padding and for unknown characters? A vocabulary of one fixed text has neither."""
        return self.characters[:2] == (PADDING, UNKNOWN)

    def inverse(self, codes: Tensor) -> list[str]:
        """The texts of codes (N, T): padding leaves no trace, an unknown character shows as �."""
        return ["".join(self.characters[code] for code in row) for row in codes.tolist()]

    def unknown(self, texts: Iterable[str]) -> Counter[str]:
        """The characters of folded texts that have no code, counted."""
        strange = Counter(char for text in texts for char in text)
        for char in self.characters:
            strange.pop(char, None)
        return strange


class LabelMap:
    """Class names as numbers (N,), in the order of the names."""

    name = "labels"

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self.numbers = {label: number for number, label in enumerate(self.labels)}

    @classmethod
    def fit(cls, names: Iterable[str]) -> LabelMap:
        """The names that occur, sorted."""
        return cls(sorted(set(names)))

    def state(self) -> Values:
        """The names in the order of their numbers."""
        return {"labels": list(self.labels)}

    def apply(self, names: Sequence[str]) -> Tensor:
        """Numbers (N,) int64. Raises `DataError` that names the classes that are not known."""
        strange = sorted(set(names) - self.numbers.keys())
        if strange:
            hint = did_you_mean(strange[0], self.labels) or f"Known: {', '.join(self.labels[:NAMED])}."
            more = ", ..." if len(strange) > NAMED else ""
            raise DataError(f"classes that training did not show: {', '.join(strange[:NAMED])}{more}. {hint}")
        return torch.tensor([self.numbers[name] for name in names], dtype=torch.int64)

    def inverse(self, numbers: Tensor) -> list[str]:
        """The names of numbers (N,)."""
        return [self.labels[number] for number in numbers.tolist()]
