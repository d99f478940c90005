"""The page of the documentation on what was found."""

import transformers

from tests.conformance.check import ATTENDING, KINDS, Result

LONGEST_REMARK = 160
PAGE = """# Architectures of transformers

Tiny models with random weights of every type that transformers {version} knows, recorded as they
are: text without padding, padded on the right and on the left, images, sounds, and four generated
tokens. Each map is compared with the weights that the eager function of the model computes, or a
softmax of its own, and the outputs with those of the model alone, bit for bit. `make conformance`
runs it and fails if a map is wrong; this page is written by
`python -m tests.conformance --page docs/architectures.md`.

**{num_wrong} are wrong. Of the {num_attending} that could be built and attend by a softmax,
{num_right} are right ({percent:.1f} %)**: {num_maps:,} maps, with differences of at most
{largest:.1g}. The others are refused, or a warning names what they lack:

| architecture | result | what is said |
| --- | --- | --- |
{rows}

**Right:** {right}.

**Without attention by a softmax**, which `record` says: {others}.

**Could not be built** by the rules of the check, for lack of a package or of special inputs:
{not_built}.
"""


def page(results: list[Result]) -> str:
    """Return counts, names, and why the others are not right."""
    by_kind = {kind: [each for each in results if each.kind == kind] for kind in KINDS}
    right = by_kind["right"]
    attending = [each for kind in ATTENDING for each in by_kind[kind]]
    rows = [
        f"| {each.name} | {each.kind} | {_short(each.remark)} |"
        for each in attending
        if each.kind != "right"
    ]
    return PAGE.format(
        version=transformers.__version__,
        num_wrong=len(by_kind["wrong"]),
        num_attending=len(attending),
        num_right=len(right),
        percent=100 * len(right) / len(attending),
        num_maps=sum(each.maps for each in right),
        largest=max(each.error for each in right),
        rows="\n".join(rows),
        right=_names(right),
        others=_names(by_kind["does not attend"]),
        not_built=_names(by_kind["not built"]),
    )


def _names(results: list[Result]) -> str:
    return ", ".join(each.name for each in results)


def _short(remark: str) -> str:
    words = " ".join(remark.replace("|", "/").split())
    return words if len(words) <= LONGEST_REMARK else f"{words[:LONGEST_REMARK]}…"
