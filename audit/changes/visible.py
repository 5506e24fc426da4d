"""Make visible what a terminal or a browser would act on: control, bidirectional and invisible characters."""

import re
import unicodedata

# C0 without tab and newline, DEL, C1, soft hyphen, marks that reorder or hide text, tags.
HOSTILE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)


def code_point(character: str) -> str:
    """`U+202E`, the way the standard writes it."""
    return f"U+{ord(character):04X}"


def name_of(character: str) -> str:
    """A name for people: `U+202E RIGHT-TO-LEFT OVERRIDE`."""
    return f"{code_point(character)} {unicodedata.name(character, 'control character')}"


def symbol(character: str) -> str:
    """One visible sign (␛) where there is one, else the code point."""
    number = ord(character)
    if number < 0x20:
        return chr(0x2400 + number)
    return "␡" if number == 0x7F else code_point(character)


def visible(text: str) -> str:
    """Plain text in which every hostile character is replaced by a sign of it."""
    return HOSTILE.sub(lambda match: symbol(match[0]), text)
