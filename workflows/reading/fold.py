"""Text as a person sees it, and as a scanner compares it. Pure."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from confusable_homoglyphs import confusables

_UNSEEN = frozenset({"Cf", "Cc", "Cs", "Co", "Cn"})
_FILLERS = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5")
"""Letters and marks that draw nothing."""
_TAGS = range(0xE0020, 0xE007F)
"""Tag characters (Unicode 23.9): ASCII that nobody sees and that a tokenizer may read."""
_TURNS = frozenset("\u202a\u202b\u202d\u202e\u2066\u2067\u2068")
_LEET = str.maketrans("013457@$!|", "oleastasil")


def shown_text(text: str) -> str:
    """NFKC, without what does not show (zero-width, bidi, tag and control characters, variation selectors), white space as single spaces."""
    spaced = "".join(" " if mark.isspace() else mark for mark in unicodedata.normalize("NFKC", text))
    return " ".join("".join(mark for mark in spaced if not _unseen(mark)).split())


def hidden_text(text: str) -> str:
    """What tag characters spell; empty for honest text."""
    return "".join(chr(ord(mark) - 0xE0000) for mark in text if ord(mark) in _TAGS)


def hides(text: str) -> bool:
    """Whether it holds tag characters or orders to turn the reading direction around: no chart needs either to be read."""
    return any(ord(mark) in _TAGS or mark in _TURNS for mark in text)


def folded(text: str) -> str:
    """Lower case ASCII where a look-alike exists: accents and look-alike letters of other scripts become the Latin ones."""
    looked = "".join(mark if mark.isascii() else _latin(mark) for mark in text)  # NFKC would turn some look-alikes away
    plain = unicodedata.normalize("NFKD", shown_text(looked))
    return "".join(
        mark if mark.isascii() else _latin(mark) for mark in plain if not unicodedata.combining(mark)
    ).lower()


def unleeted(text: str) -> str:
    """Digits and signs as the letters that they stand for."""
    return text.translate(_LEET)


def _unseen(mark: str) -> bool:
    return mark in _FILLERS or "\ufe00" <= mark <= "\ufe0f" or unicodedata.category(mark) in _UNSEEN


@lru_cache(maxsize=4096)
def _latin(mark: str) -> str:
    """The ASCII letter or digit that looks like it, else the mark itself."""
    alike = [like["c"] for like in confusables.confusables_data.get(mark, ())]
    forms = (unicodedata.normalize("NFKD", form) for form in [mark, *alike])
    return next((form for form in forms if len(form) == 1 and form.isascii() and form.isalnum()), mark)
