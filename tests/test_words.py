"""Private words that once stood for terms of the field do not come back."""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
CODE = sorted((REPOSITORY / "src").rglob("*.py"))
PROSE = [
    *(REPOSITORY / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *sorted((REPOSITORY / "conf").rglob("*.yaml")),
]

# A part of an identifier, and the term that is written instead.
PARTS = {
    "place": "index, position, path, device, rank or column",
    "places": "indices, positions, paths, devices, ranks or columns",
    "share": "fraction or rate",
    "shares": "fractions or rates",
    "kept": "saved or stored",
    "keeps": "saves or stores",
    "least": "min",
    "most": "max",
    "begun": "unfinished",
    "leftovers": "snapshot",
    "following": "next, or submitted",
    "hears": "takes",
    "launched": "cluster",
    "drawable": "display_inputs",
    "adopt": "use_pretrained",
}
# Identifiers that stand in files on disk, or that users write.
KNOWN = {"null_share", "readout_null_share", "sink_share", "most_different"}
# What is not written in code or prose, and what is written instead.
PHRASES = {
    r"(?<!here )\bis no (?!longer\b)|\bis none of\b": "is not a, or is not one of",
    r"\b(?:go|goes|going|gone) on\b": "resume or continue",
    r"\banew\b": "again or from scratch",
    r"\bwhole numbers?\b": "integer",
    r"\b(?:in|with) a sentence\b": "with an error message",
    r"\bof before\b": "earlier",
    r"\bat hand\b": "available",
    r"\b(?:had|has) no say\b": "is ignored",
    r"\bhands? over\b|\btells? of\b|\bwhoever\b": "submit, describe or any caller",
    r"\bhears\b": "takes",
    r"^\s+\w+: (?:Of|That) |^\s*(?:Of|That|None where) [a-z]|\"\"\"(?:What|Of) ": "a noun, a verb",
    r"_in_words\b|\bsentence_of\b": "format_..., describe_... or user_message",
}


def test_identifiers_are_terms_of_the_field() -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{line}: {name}: write {PARTS[part]}"
        for path in CODE
        for name, line in identifiers(path)
        for part in name.lower().split("_")
        if part in PARTS and name not in KNOWN
    ]
    assert not found, "\n".join(found)


def identifiers(path: Path) -> Iterator[tuple[str, int]]:
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
    for token in tokens:
        if token.type == tokenize.NAME:
            yield token.string, token.start[0]


def test_prose_is_plain() -> None:
    found = []
    for path in CODE + PROSE:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            found += [
                f"{path.relative_to(REPOSITORY)}:{number}: {match[0]}: write {instead}"
                for phrase, instead in PHRASES.items()
                for match in re.finditer(phrase, line)
            ]
    assert not found, "\n".join(found)
