"""A web page of one sample: one file that needs no network and no script.

The page shows the input, the readout row and the attention that tokens receive in each layer; every
head can be unfolded, with its map. A table holds all weights, too, for readers who do not see
colours.
"""

from collections.abc import Iterator
from html import escape
from pathlib import Path

from attention_atlas.analysis.colours import palette_of
from attention_atlas.analysis.export.drawings import draw_input, draw_map, draw_weights
from attention_atlas.analysis.token_weights import View, name_of, pick
from attention_atlas.atlas import Atlas, Sample
from attention_atlas.attention_options import describe_mechanism
from attention_atlas.output_files import draft

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 0 auto;
  max-width: 60rem; padding: 1rem; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin-top: 2rem; }
h3 { font-size: 1rem; margin-bottom: 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.1rem 1rem; margin: 0; }
dt { color: #555; } dd { margin: 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; } th, td { padding: 0.1rem 0.8rem 0.1rem 0; text-align: left; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
thead th { border-bottom: 1px solid #888; } .wide { overflow-x: auto; }
.text { font-family: ui-monospace, monospace; line-height: 1.9; overflow-wrap: anywhere; }
.text span { padding: 0.15em 0; } svg { max-width: 100%; height: auto; } svg text { fill: #333; }
.scale { width: 12rem; height: 0.8rem; border: 1px solid #888; }
.ends { width: 12rem; display: flex; justify-content: space-between; font-size: 0.8rem; }
summary { cursor: pointer; color: #225ea8; } details { margin: 0.3rem 0 0.6rem; }
"""


def write_page(atlas: Atlas, sample: Sample, path: Path) -> None:
    """Write the page of a sample."""
    with draft(path) as unfinished:
        unfinished.write_text("\n".join(_page(atlas, sample)) + "\n", encoding="utf-8")


def _page(atlas: Atlas, sample: Sample) -> Iterator[str]:
    name = escape(sample.sample_id)
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{name}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>"
    yield f"<h1>{name}</h1>"
    yield from _about(atlas, sample)
    if atlas.attributes.token_layout != "character_span":
        yield f"<h2>Input</h2>\n{draw_input(atlas.attributes, sample)}"
    if len(sample.readout):
        yield "<h2>Readout</h2>"
        yield from _view(atlas, sample, pick(sample))
        yield "<details><summary>Each head of the readout</summary>"
        for head in range(len(sample.readout)):
            yield from _view(atlas, sample, pick(sample, head=head), heading=f"Head {head}")
        yield "</details>"
    for layer, layer_name in enumerate(atlas.layers if sample.has_maps else []):
        yield f"<h2>Layer {layer} ({escape(layer_name)})</h2>"
        yield from _view(atlas, sample, pick(sample, layer))
        yield "<details><summary>Each head of this layer, with its map</summary>"
        for head in range(sample.entropy.shape[1]):
            yield from _view(atlas, sample, pick(sample, layer, head), heading=f"Head {head}")
            yield draw_map(sample, layer, head)
        yield "</details>"
    if not sample.has_maps:
        yield "<p>No maps of the layers are stored for this sample.</p>"
    yield from _numbers(atlas, sample)
    yield "</main>\n</body>\n</html>"


def _about(atlas: Atlas, sample: Sample) -> Iterator[str]:
    known = [index for index in sample.predictions if index < len(sample.logits)]
    likely = [f"{sample.probabilities[index]:.1%}" for index in known]
    probability = f" ({', '.join(likely)})" if likely else ""
    facts = {
        "label": sample.label_name,
        "predicted": f"{sample.prediction_name}{probability}",
        "task": atlas.task,
        "data": f"{atlas.data}, {sample.split}",
        "attention": describe_mechanism(atlas.attributes.mechanism),
        "epoch": str(sample.epoch),
        "tokens": str(sample.length),
    }
    yield "<dl>"
    for name, fact in facts.items():
        yield f"<dt>{name}</dt><dd>{escape(fact)}</dd>"
    yield "</dl>"


def _view(atlas: Atlas, sample: Sample, view: View, heading: str = "") -> Iterator[str]:
    if heading:
        yield f"<h3>{heading}</h3>"
    words = "; ".join([view.description, *view.notes])
    yield f"<p>{escape(words[0].upper() + words[1:])}</p>"
    yield draw_weights(atlas.attributes, sample, view)
    if not heading:
        yield _scale(view)


def _scale(view: View) -> str:
    """Return the colours of the weights with the ends of their scale."""
    colours = ", ".join(f"#{colour}" for colour in palette_of(view.signed).colours)
    low = f"{-view.darkest:z.3f}" if view.signed else "0"
    return (
        f'<div class="scale" style="background: linear-gradient(to right, {colours})"></div>'
        f'<div class="ends"><span>{low}</span><span>{view.unit}</span>'
        f"<span>{view.darkest:.3f}</span></div>"
    )


def _numbers(atlas: Atlas, sample: Sample) -> Iterator[str]:
    """Yield a table of all weights, a row for each token."""
    columns = {"readout": pick(sample).weights} if len(sample.readout) else {}
    for layer in range(len(atlas.layers) if sample.has_maps else 0):
        columns[f"layer {layer}"] = pick(sample, layer).weights
    yield "<h2>Weights as numbers</h2>"
    yield "<p>Means of the heads; of a layer, the attention received, mean of the queries.</p>"
    yield '<div class="wide"><table>\n<thead><tr><th scope="col" class="number">token</th>'
    yield '<th scope="col">part of the input</th>'
    yield "".join(f'<th scope="col" class="number">{name}</th>' for name in columns)
    yield "</tr></thead>\n<tbody>"
    for token, meaning in enumerate(sample.tokens):
        cells = "".join(f'<td class="number">{row[token]:z.4f}</td>' for row in columns.values())
        words = escape(name_of(meaning))
        yield f'<tr><th scope="row" class="number">{token}</th><td>{words}</td>{cells}</tr>'
    yield "</tbody></table></div>"
