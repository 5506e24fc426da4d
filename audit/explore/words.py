"""Words to search by: what a text is cut into, when it is indexed and when it is asked for."""

import re
import unicodedata

PIECE = re.compile(r"[^\W_]+")
SHORTEST, LONGEST, MOST = 2, 40, 2_000
MOST_ASKED = 8
WEIGHTS = {"title": 3.0, "reason": 3.0, "ticket": 3.0, "comment": 2.0, "text": 2.0}
"""What a word counts for by the private value it stands in; elsewhere 1."""


def words_of(text: str) -> list[str]:
    """The distinct words of a text in order, case folded (NFKC), of 2 to 40 characters, 2,000 at most."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    found = dict.fromkeys(piece for piece in PIECE.findall(folded) if SHORTEST <= len(piece) <= LONGEST)
    return list(found)[:MOST]


def asked_words(text: str) -> list[str]:
    """The words of a search, eight at most."""
    return words_of(text)[:MOST_ASKED]


def marked(text: str, words: list[str], around: int = 160) -> list[tuple[str, bool]]:
    """A passage of the text around its first hit, in pieces: (piece, whether it is a hit). Short texts stay whole."""
    hits = [m for m in PIECE.finditer(text) if _is_hit(m[0], words)]
    start = max(0, hits[0].start() - around // 2) if hits and len(text) > around else 0
    end = min(len(text), start + around)
    pieces: list[tuple[str, bool]] = [("…", False)] if start else []
    at = start
    for m in hits:
        if m.end() > end or m.start() < at:
            continue
        pieces += [(text[at : m.start()], False), (m[0], True)]
        at = m.end()
    pieces += [(text[at:end], False), *([("…", False)] if end < len(text) else [])]
    return [(piece, is_hit) for piece, is_hit in pieces if piece]


def _is_hit(piece: str, words: list[str]) -> bool:
    folded = unicodedata.normalize("NFKC", piece).casefold()
    return any(folded.startswith(word) for word in words)
