"""The encoding of a text without a mark that is not UTF-8, where its content makes it certain."""

import re
import unicodedata
from contextlib import suppress

SINGLE_BYTE = [*(f"cp{number}" for number in range(1250, 1259)), "koi8_r", "cp866", "cp850"]
SINGLE_BYTE += ["mac_roman", "mac_cyrillic", "iso8859_2", "iso8859_5", "iso8859_7", "iso8859_15"]
MAX_CHAOS, MARGIN = 0.1, 0.03
"""How odd the text of a sure guess may look, and how much odder that of any other."""
EVIDENCE = 20  # bytes beyond ASCII
SAMPLE = 2**16  # bytes that an encoding is guessed from

ALPHABETS = [
    *("äöüß", "àâæçéèêëîïôœùûüÿ", "áéíñóúü", "áàâãçéêíóôõúü", "àèéìíîòóùú", "àçéèíïóòúü"),
    *("éèêëïñçöüáàâä", "áéëïíóöúüèê", "äåöé", "æøåéèêòóôü", "áðéíóúýþæö"),
    *("ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "áéíóöőúüű", "ăâîșțşţ", "čćđšž"),
    *("çğıöşüâîû\u0307", "äöõüšž", "āčēģīķļņšūž", "ąčęėįšųūž"),
    *("абвгдеёжзийклмнопрстуфхцчшщъыьэюя", "абвгґдеєжзиіїйклмнопрстуфхцчшщьюя"),
    *("абвгдеёжзійклмнопрстуўфхцчшыьэюя", "абвгдђѓежзѕијклљмнњопрстћќуфхцчџш"),
]
"""Lower-case letters beyond ASCII of languages in Latin and Cyrillic script.

German, French, Spanish, Portuguese, Italian, Catalan, English (in borrowed words), Dutch, Swedish
and Finnish, Danish and Norwegian, Icelandic; Polish, Czech, Slovak, Hungarian, Romanian, Croatian;
Turkish, Estonian, Latvian, Lithuanian; Russian and Bulgarian, Ukrainian, Belarusian, Serbian and
Macedonian.
"""

ODD = re.compile(
    "[\x80-\x9f¤\u2500-\u259f]"  # controls, the sign for any currency, frames of tables
    r"|(?<=[^\W\d_])[^\w\s\x00-\x7f‘’·‐-—…](?=[^\W\d_])"  # a symbol within a word
)
WORDS = re.compile(r"[\w\u0300-\u036f\u0590-\u05c7]+")  # with combining marks
NOT_LETTERS = str.maketrans("", "", "ªºµ")


def sure_encoding(content: bytes) -> str | None:
    """Return the encoding if there is only one in which the text looks like a language.

    Encodings that give the same text count as one.
    """
    from charset_normalizer import from_bytes  # slow to import

    lines = b"\n".join(line for line in content.splitlines() if not line.isascii())
    sample = lines[:SAMPLE]
    if sum(byte > 127 for byte in sample) < EVIDENCE:
        return None
    guesses = from_bytes(
        sample, cp_isolation=SINGLE_BYTE, enable_fallback=False, preemptive_behaviour=False
    )
    found = [guess for guess in guesses if is_of_one_language(str(guess))]  # the best first
    if not found or found[0].chaos > MAX_CHAOS or not found[0].coherence:
        return None
    same = [guess for guess in found if str(guess) == str(found[0])]
    if any(guess.chaos < found[0].chaos + MARGIN for guess in found if guess not in same):
        return None
    return _only_one(lines, [name for guess in same for name in guess.could_be_from_charset])


def _only_one(lines: bytes, encodings: list[str]) -> str | None:
    """Return an encoding of those that give the same sample, if all give the same of all lines."""
    found: dict[str, str] = {}
    for encoding in encodings:
        with suppress(UnicodeDecodeError):
            found.setdefault(lines.decode(encoding), encoding)
    names = [encoding for text, encoding in found.items() if is_of_one_language(text)]
    return names[0] if len(names) == 1 else None


def is_of_one_language(text: str) -> bool:
    """Whether the letters beyond ASCII can all be of one language, and no word has a symbol in it.

    In any other script than Latin and Cyrillic, no language is told from another.
    """
    if ODD.search(text):
        return False
    letters: set[str] = set()
    for word in WORDS.findall(text.lower().translate(NOT_LETTERS)):
        own = {letter for letter in word if not letter.isascii() and not letter.isnumeric()}
        has_ascii = any(letter.isascii() for letter in word)
        scripts = {_script(letter) for letter in own} | ({"LATIN"} if has_ascii else set())
        if own and (len(scripts) > 1 or any(letter.isnumeric() for letter in word)):
            return False
        letters |= own
    scripts = {_script(letter) for letter in letters}
    if scripts & {"LATIN", "CYRILLIC"}:
        return any(letters <= set(alphabet) for alphabet in ALPHABETS)
    return len(scripts) < 2


def _script(letter: str) -> str:
    """Return the first word of its name in Unicode; a combining mark belongs to Latin letters."""
    name = unicodedata.name(letter, "").split(" ")[0]
    return "LATIN" if name == "COMBINING" else name
