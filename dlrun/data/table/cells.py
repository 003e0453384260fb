"""What a cell of a table says: numbers as people write them, dates by a format, words for missing and for yes and no.

A column is judged by its distinct texts, not cell by cell. No torch here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

MISSING = ("", "na", "n/a", "nan", "null", "none", "nil", "?", "-", "--", ".", "#n/a", "missing", "unknown")
YES_NO = [  # two words of one of these are a boolean, the second one is 1
    ("false", "true"), ("no", "yes"), ("n", "y"), ("f", "t"), ("off", "on"), ("absent", "present"),
    ("negative", "positive"), ("unchecked", "checked"), ("inactive", "active"), ("disabled", "enabled"),
    ("nein", "ja"), ("non", "oui"), ("fail", "pass"), ("-", "+"),
]  # fmt: skip
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$")
GROUPS = {sign: rf"\d{{1,3}}(?:{re.escape(sign)}\d{{3}})+" for sign in ",.' "}
MONEY = "[$€£¥₹₩₽¢]|(?:USD|EUR|GBP|CHF|JPY|CNY|INR|AUD|CAD|SEK|NOK|DKK|PLN|BRL|Rs\\.?|kr\\.?)(?=[ \\d.+-])"
UNIT = re.compile(
    rf"^(?P<sign>[+-]?)\s*(?P<before>{MONEY})?\s*(?P<sign2>[+-]?)"
    r"(?P<digits>[\d.,' ]*\d[\d.,']*(?:[eE][+-]?\d+)?)\s*(?P<after>[^\d\s.,+-][^.,\s]{0,7}(?: [^\d.,]{1,7})?)?$"
)
DATES = [  # name, format: the named ones are those that a user can force
    ("ymd", "%Y-%m-%d"), ("ymd", "%Y/%m/%d"), ("ymd", "%Y.%m.%d"), ("ymd", "%Y%m%d"),
    ("dmy", "%d.%m.%Y"), ("dmy", "%d/%m/%Y"), ("dmy", "%d-%m-%Y"), ("dmy", "%d.%m.%y"), ("dmy", "%d/%m/%y"),
    ("mdy", "%m/%d/%Y"), ("mdy", "%m-%d-%Y"), ("mdy", "%m.%d.%Y"), ("mdy", "%m/%d/%y"),
    ("dmy", "%d %b %Y"), ("dmy", "%d %B %Y"), ("dmy", "%d-%b-%Y"), ("dmy", "%d-%b-%y"), ("dmy", "%d %b %y"),
    ("mdy", "%b %d, %Y"), ("mdy", "%B %d, %Y"),
    ("ym", "%Y-%m"), ("ym", "%b %Y"),
]  # fmt: skip
TIMES = ("", "T%H:%M:%S", " %H:%M:%S", " %H:%M", "T%H:%M", "T%H:%M:%S.%f", " %H:%M:%S.%f", "T%H:%M:%SZ", "T%H:%M:%S%z")
DATE_SHARE = 0.99  # of the cells that one format must read
TRIED = 5  # cells, one of which a format must read before all are looked at
ANY_DIGIT = re.compile(r"\d")
DATE_DIGITS = re.compile(r"(?:\d\D*){4}")  # no date has fewer than 1.1.99


def is_missing(text: str) -> bool:
    """Whether a stripped text is a word for a missing value."""
    return text.casefold() in MISSING


@dataclass(frozen=True)
class NumberFormat:
    """How the numbers of one column are written: what stands around them, and the signs between digits."""

    unit: str = ""
    thousands: str = ""
    decimal: str = "."

    def parse(self, text: str) -> float:
        """The number of a cell; NaN where it is none in this format."""
        text = text.strip()
        if self.unit:
            found = UNIT.match(text)
            if found is None or unit_of(found) not in ("", self.unit):
                return math.nan
            text = found["sign"] + found["sign2"] + found["digits"].strip()
        if text.startswith("(") and text.endswith(")"):  # of accounts
            text = f"-{text[1:-1]}"
        if self.thousands:
            if self.thousands in text and not is_grouped(text, self.thousands, self.decimal):
                return math.nan
            text = text.replace(self.thousands, "")
        if self.decimal != ".":
            if "." in text:
                return math.nan
            text = text.replace(self.decimal, ".")
        value = float(text) if NUMBER.match(text) else math.nan
        return value if math.isfinite(value) else math.nan  # 1e999 is none


def is_grouped(text: str, sign: str, decimal: str) -> bool:
    """Whether the whole part of a number is written in groups of three digits."""
    whole = text.lstrip("+-").partition(decimal)[0]
    return sign in whole and re.fullmatch(GROUPS[sign], whole) is not None and sign not in text.partition(decimal)[2]


def unit_of(found: re.Match[str]) -> str:
    """What stands before or behind the digits."""
    before = (found["before"] or "").strip()
    after = (found["after"] or "").strip()
    return before or after if not (before and after) else f"{before}|{after}"


def number_format(texts: Iterable[str], decimal: str = "auto") -> NumberFormat | None:
    """The one format that reads every text as a number; None where there is none.

    A comma is the decimal sign where one has not exactly three digits behind it, and no point stands behind a comma;
    where all commas have three digits behind them they separate thousands.
    """
    cells = [text.strip() for text in texts]
    if not cells:
        return None
    if all(map(NUMBER.match, cells)) and decimal != "," and not any(map(math.isinf, map(float, cells))):
        return NumberFormat()
    found = [UNIT.match(cell.strip("()") if cell.startswith("(") else cell) for cell in cells]
    if not all(found):
        return None
    units = {unit_of(match) for match in found if match is not None} - {""}
    if len(units) > 1 or any("|" in unit for unit in units):
        return None
    digits = [match["digits"].strip() for match in found if match is not None]
    unit = next(iter(units), "")
    signs = [decimal] if decimal in (".", ",") else [".", ","]
    for sign in signs:
        for thousands in ("", *(mark for mark in GROUPS if mark != sign)):
            format = NumberFormat(unit, thousands, sign)
            if all(reads(format, text) for text in digits):
                return format
    return None


def reads(format: NumberFormat, digits: str) -> bool:
    """Whether a format reads bare digits."""
    value = NumberFormat("", format.thousands, format.decimal).parse(digits)
    return not math.isnan(value)


def boolean_words(texts: Sequence[str]) -> dict[str, float] | None:
    """0 and 1 for two words that are known as a pair; None for others."""
    words = {text.strip().casefold() for text in texts}
    for no, yes in YES_NO:
        if words == {no, yes}:
            return {text: float(text.strip().casefold() == yes) for text in texts}
    return None


def date_formats(texts: Sequence[str], counts: Sequence[int], order: str = "auto") -> list[str]:
    """The formats that read `DATE_SHARE` of the cells at least; an `order` (dmy, mdy, ymd, ym) allows only its own."""
    sample = [(text.strip(), count) for text, count in zip(texts, counts, strict=True)]
    if not sample or not ANY_DIGIT.search(sample[0][0]):
        return []
    if not any(DATE_DIGITS.search(text) for text, _ in sample[:TRIED]):
        return []
    total = sum(count for _, count in sample)
    found = []
    for name, day in DATES:
        if order not in ("auto", name):
            continue
        for time in TIMES:
            if time and day == "%Y%m%d":
                continue
            if all(parse_date(text, day + time) is None for text, _ in sample[:TRIED]):
                continue
            if sum(count for text, count in sample if parse_date(text, day + time) is not None) >= DATE_SHARE * total:
                found.append(day + time)
    return found


def order_of(format: str) -> str:
    """`dmy`, `mdy`, `ymd` or `ym`: the order of a format's parts."""
    longest = sorted(DATES, key=lambda pair: -len(pair[1]))
    return next(name for name, day in longest if format.startswith(day))


def parse_date(text: str, format: str) -> float | None:
    """Seconds since 1970 in UTC; None where the format does not read the text."""
    try:
        moment = datetime.strptime(text.strip(), format)
    except ValueError:
        return None
    return (moment.replace(tzinfo=None) - datetime(1970, 1, 1)).total_seconds()
