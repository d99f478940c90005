"""`atlas record`: maps of any model on any data, without training."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import transformers
from PIL import Image

from attention_atlas.atlas import open_atlas
from tests.commands import invoke_atlas
from tests.pretrained.architectures import IMAGE, SEQUENCES, TEXT
from tests.pretrained.conftest import save_tokenizer


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> Path:
    """A BERT with a head of three classes."""
    folder = tmp_path_factory.mktemp("classifier")
    size = save_tokenizer(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        **{**TEXT, "vocab_size": size, "max_position_embeddings": 64},
        id2label={0: "bad", 1: "so-so", 2: "good"},
        label2id={"bad": 0, "so-so": 1, "good": 2},
    )
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def run(tmp_path: Path, *arguments: object) -> str:
    done = invoke_atlas(tmp_path, *map(str, arguments))
    assert done.exit_code == 0, done.stderr
    return done.stdout


def test_texts_with_the_models_own_head(classifier, reviews, tmp_path) -> None:
    run(tmp_path, "record", classifier, "--data", reviews, "--out", "maps", "--dtype", "float32")
    kept = open_atlas(tmp_path / "maps")
    assert len(kept) == 200
    assert kept.classes == ["bad", "so-so", "good"]
    assert kept.attributes.data == "reviews.csv"
    options = {"attn_implementation": "eager"}
    model = transformers.AutoModelForSequenceClassification.from_pretrained(classifier, **options)
    tokenizer = transformers.AutoTokenizer.from_pretrained(classifier)
    for sample in [kept[0], kept[117]]:
        inputs = tokenizer(sample.text, return_tensors="pt", truncation=True, max_length=64)
        with torch.no_grad():
            output = model.eval()(**inputs, output_attentions=True)
        np.testing.assert_allclose(sample.logits, output.logits[0], atol=1e-5)
        for own, attention in zip(sample.maps, output.attentions, strict=True):
            np.testing.assert_allclose(own, attention[0], atol=1e-5)
        np.testing.assert_allclose(sample.readout, output.attentions[-1][0, :, 0], atol=1e-5)
        assert sample.tokens[0] == "[CLS]"
        assert sample.tokens[-1] == "[SEP]"
        assert sample.stands_in_input.tolist() == [False, *[True] * (sample.length - 2), False]
        known = {"good": 2, "bad": 0}
        assert sample.label in known.values()  # the file's labels are classes of the model
    for command in (["show"], ["stats"], ["info"], ["export", "0", "--out", "page.html"]):
        run(tmp_path, command[0], "maps", *command[1:])


def test_texts_that_are_cut_are_counted(classifier, tmp_path) -> None:
    (tmp_path / "lines.txt").write_text("great film " * 60 + "\nso dull\n")
    told = run(tmp_path, "record", classifier, "--data", "lines.txt", "--out", "maps")
    assert "1 of the texts was cut: the model takes no more tokens than 64." in told
    out = ["--out", "others", "--json"]
    assert json.loads(run(tmp_path, "record", classifier, "--data", "lines.txt", *out))["cut"] == 1


def test_a_model_without_a_head_predicts_nothing(tiny_bert, tmp_path) -> None:
    (tmp_path / "lines.txt").write_text("great film\nso dull\n\nfine\n")
    out = ["--out", "maps", "--num-samples", "2"]
    run(tmp_path, "record", tiny_bert, "--data", "lines.txt", *out)
    kept = open_atlas(tmp_path / "maps")
    assert [sample.text for sample in kept] == ["great film", "so dull", "fine"]
    assert [sample.has_maps for sample in kept] == [True, True, False]
    assert kept[0].label == kept[0].prediction == -1
    assert "no label" in run(tmp_path, "show", "maps")
    facts = json.loads(run(tmp_path, "info", "maps", "--json"))
    assert facts["accuracy_of_samples"] is None
    for command in (["stats"], ["info"], ["list"], ["export", "0", "--out", "page.html"]):
        run(tmp_path, command[0], "maps", *command[1:])


def test_images_and_sounds(tiny_vit, tiny_wav2vec2, pictures, sounds, tmp_path) -> None:
    run(tmp_path, "record", tiny_vit, "--data", pictures, "--out", "images")
    run(tmp_path, "record", tiny_wav2vec2, "--data", sounds / "low", "--out", "sounds",
        "--clip-seconds", "0.5")  # fmt: skip
    images, heard = open_atlas(tmp_path / "images"), open_atlas(tmp_path / "sounds")
    assert len(images) == 120
    assert images[0].maps.shape == (3, 4, 17, 17)
    own = np.asarray(Image.open(pictures / images[0].sample_id))
    np.testing.assert_array_equal(images[0].image[..., 0], own)
    assert len(heard) == 40
    assert heard[0].boxes[-1, 2] <= 0.5
    for folder in ("images", "sounds"):
        run(tmp_path, "show", folder)
        run(tmp_path, "gallery", folder, "--save", f"{folder}.png")


def test_tokens_of_silence_have_no_names(tiny_ast, sounds, tmp_path) -> None:
    data = ["--data", sounds / "low", "--out", "heard", "--clip-seconds", "0.3"]
    run(tmp_path, "record", tiny_ast, *data)
    sample = open_atlas(tmp_path / "heard")[0]
    assert sample.tokens[:2] == ["[CLS]", "[DIST]"]
    assert [bool(name) for name in sample.tokens[2:]] == sample.stands_in_input[2:].tolist()
    assert 0 < sample.stands_in_input.sum() < sample.length - 2


def test_a_decoder(tmp_path) -> None:
    size = save_tokenizer(tmp_path / "gpt2")
    config = transformers.GPT2Config(
        n_embd=32, n_layer=2, n_head=4, vocab_size=size, n_positions=64,
        bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    transformers.GPT2Model(config).save_pretrained(tmp_path / "gpt2")
    (tmp_path / "lines.txt").write_text("great film\nso dull and then some more\n")
    run(tmp_path, "record", "gpt2", "--data", "lines.txt", "--out", "maps", "--dtype", "float32")
    maps = open_atlas(tmp_path / "maps")[1].maps
    assert np.triu(maps, 1).max() == 0
    np.testing.assert_allclose(maps.sum(-1), 1, atol=1e-5)


def test_a_run_can_be_recorded_on_other_data(trained_runs, pictures, tmp_path) -> None:
    out = ["--data", pictures / "left", "--out", "maps"]
    run(tmp_path, "record", trained_runs["vision"], *out)
    kept = open_atlas(tmp_path / "maps")
    assert len(kept) == 60
    assert kept.classes == ["left", "right"]
    assert kept[0].label_name == "left"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{bert}", "--data", "gone.csv", "--out", "maps"], "gone.csv does not exist"),
        (["gone", "--data", "lines.txt", "--out", "maps"], "The pretrained model gone has no"),
        (["{bert}", "--data", "empty", "--out", "maps"], "empty holds no text"),
        (["{bert}", "--data", "images", "--out", "maps"], "has no image processor"),
        (["{vit}", "--data", "lines.txt", "--out", "maps"], "has no tokenizer"),
        (["./gone", "--data", "lines.txt", "--out", "maps"], "model ./gone does not exist"),
        (["{wordless}", "--data", "lines.txt", "--out", "maps"], "there is no vocabulary"),
        (["{whisper}", "--data", "lines.txt", "--out", "maps"], "it takes input_features, and"),
        (["{bert}", "--data", "lines.txt", "--out", "m", "--dtype", "int8"], "take float16 or"),
        (["{bert}", "--data", "lines.txt", "--out", "m", "--modality", "x"], "take text, image"),
    ],
)
def test_what_cannot_be_used_ends_in_a_one_line_error(
    arguments, message, tiny_bert, tiny_vit, tmp_path
) -> None:
    (tmp_path / "lines.txt").write_text("great film\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "images").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "images" / "black.png")
    shutil.copytree(tiny_bert, tmp_path / "wordless")
    for file in (tmp_path / "wordless").glob("*token*"):
        file.unlink()
    save_tokenizer(tmp_path / "whisper")
    whisper = transformers.WhisperModel(transformers.WhisperConfig(**SEQUENCES))
    whisper.save_pretrained(tmp_path / "whisper")
    folders = {"bert": tiny_bert, "vit": tiny_vit}
    folders |= {name: name for name in ("wordless", "whisper")}
    given = [argument.format(**folders) for argument in arguments]
    done = invoke_atlas(tmp_path, "record", *given, HF_HUB_OFFLINE="1")
    assert done.exit_code == 2, done.stdout
    assert message in done.stderr
    assert isinstance(done.exception, SystemExit)
    assert not list(tmp_path.glob("m*/atlas.zarr"))


@pytest.mark.parametrize("size", [(40, 40), (60, 20), (17, 31)])
@pytest.mark.parametrize(
    ("model", "processor"),
    [
        ("CLIPVision", {"size": {"shortest_edge": 20}, "crop_size": {"height": 16, "width": 16}}),
        ("ViT", {"size": {"height": 16, "width": 16}}),
    ],
)
def test_images_are_what_the_processor_makes_of_them(model, processor, size, tmp_path) -> None:
    """One that scales the shorter side and crops, and one that squeezes."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{model}Config")(**IMAGE)
    getattr(transformers, f"{model}Model")(config).save_pretrained(tmp_path / "model")
    kind = getattr(transformers, f"{model.removesuffix('Vision')}ImageProcessor")
    kind(**processor).save_pretrained(tmp_path / "model")
    (tmp_path / "images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "images" / "one.png")
    out = ["--data", "images", "--out", "maps", "--dtype", "float32"]
    run(tmp_path, "record", "model", *out)
    own = transformers.AutoImageProcessor.from_pretrained(tmp_path / "model")
    inputs = own(images=[Image.fromarray(pixels)], return_tensors="pt")
    eager = {"attn_implementation": "eager"}
    loaded = getattr(transformers, f"{model}Model").from_pretrained(tmp_path / "model", **eager)
    with torch.no_grad():
        attentions = loaded.eval()(**inputs, output_attentions=True).attentions
    maps = open_atlas(tmp_path / "maps")[0].maps
    np.testing.assert_allclose(maps, torch.stack(attentions)[:, 0], atol=1e-5)


HEADS = {
    "BartForSequenceClassification": {**SEQUENCES, "max_position_embeddings": 64},
    "T5ForSequenceClassification": {
        "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4,
        "pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": 0,
    },
    "GPT2ForSequenceClassification": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "RobertaForSequenceClassification": {**TEXT, "max_position_embeddings": 70, "pad_token_id": 0},
}  # fmt: skip


@pytest.mark.parametrize("head", HEADS)
def test_every_head_says_what_it_says_alone(head: str, tmp_path) -> None:
    """Texts of differing lengths, in one padded batch, and each alone."""
    size = save_tokenizer(tmp_path / "model")
    torch.manual_seed(0)
    kind = getattr(transformers, head.replace("ForSequenceClassification", "Config"))
    options = {**HEADS[head], "vocab_size": size, "eos_token_id": 3, "bos_token_id": 2}
    config = kind(**options, num_labels=3)
    getattr(transformers, head)(config).save_pretrained(tmp_path / "model")
    (tmp_path / "lines.txt").write_text("great film\nso dull, so poor, so very awful\nfine\n")
    out = ["--data", "lines.txt", "--out", "maps", "--dtype", "float32"]
    run(tmp_path, "record", "model", *out)
    own = getattr(transformers, head).from_pretrained(tmp_path / "model").eval()
    own.config.pad_token_id = 0
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    for sample in open_atlas(tmp_path / "maps"):
        inputs = tokenizer(sample.text, return_tensors="pt")
        with torch.no_grad():
            logits = own(**inputs).logits[0]
        np.testing.assert_allclose(sample.logits, logits, atol=1e-5)
        assert sample.maps.shape[-1] == inputs["input_ids"].shape[1]
        has_readout = head.startswith("Roberta")
        assert (sample.readout is not None and sample.readout.size > 0) == has_readout


def test_tokens_of_the_silence_behind_a_clip_have_no_box(tmp_path, sounds) -> None:
    """Whisper hears 30 seconds, whatever the clip."""
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        **{**SEQUENCES, "vocab_size": 60}, num_mel_bins=80, max_source_positions=1500,
        classifier_proj_size=16, num_labels=2, suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    transformers.WhisperForAudioClassification(config).save_pretrained(tmp_path / "model")
    transformers.WhisperFeatureExtractor().save_pretrained(tmp_path / "model")
    (tmp_path / "clips").mkdir()
    for index in range(2):
        shutil.copy(sounds / "low" / f"{index}.wav", tmp_path / "clips")
    out = ["--data", "clips", "--out", "maps", "--clip-seconds", "0.5", "--num-samples", "0"]
    run(tmp_path, "record", "model", *out)
    boxes = open_atlas(tmp_path / "maps")[0].boxes
    assert len(boxes) == 1500
    assert np.isnan(boxes[25:]).all()
    np.testing.assert_allclose(boxes[24], [0.48, 0, 0.5, 8000], atol=1e-4)


def test_a_head_over_one_tower(tmp_path, pictures) -> None:
    torch.manual_seed(0)
    vision = {**IMAGE, "projection_dim": 16}
    config = transformers.CLIPConfig(vision_config=vision, projection_dim=16, num_labels=2)
    transformers.CLIPForImageClassification(config).save_pretrained(tmp_path / "model")
    processor = transformers.CLIPImageProcessor(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
    )
    processor.save_pretrained(tmp_path / "model")
    run(tmp_path, "record", "model", "--data", pictures / "left", "--out", "maps")
    kept = open_atlas(tmp_path / "maps")
    assert kept.classes == ["LABEL_0", "LABEL_1"]
    assert kept[0].maps.shape == (3, 4, 17, 17)


@pytest.mark.parametrize("model", ["tiny_wav2vec2", "tiny_ast"])
def test_times_of_a_short_file_are_its_own(model, request, tmp_path) -> None:
    times = np.arange(3_200) / 16_000
    tone = np.sin(2 * np.pi * 1_000 * times) * ((times >= 0.01) & (times < 0.03))
    soundfile.write(tmp_path / "short.wav", tone, 16_000)
    folder = request.getfixturevalue(model)
    run(tmp_path, "record", folder, "--data", "short.wav", "--out", "maps")
    sample = open_atlas(tmp_path / "maps")[0]
    inside = sample.boxes[sample.stands_in_input]
    assert len(inside)
    assert inside[:, 0].min() < 0.03  # the clip stood at 0.4 s of the input
    assert inside[:, 2].max() <= 0.2 + 1e-6
    assert sample.spectrogram.shape[1] == 16
    loudest = sample.spectrogram.max(axis=0).argmax()
    assert loudest <= 3


def test_a_head_for_several_labels_predicts_all_above_one_half(tmp_path) -> None:
    size = save_tokenizer(tmp_path / "model")
    torch.manual_seed(3)
    config = transformers.BertConfig(
        **{**TEXT, "vocab_size": size, "max_position_embeddings": 64},
        id2label=dict(enumerate("abcd")),
        problem_type="multi_label_classification",
    )
    model = transformers.BertForSequenceClassification(config)
    model.classifier.bias.data = torch.tensor([4.0, -4.0, 4.0, -4.0])
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "texts.txt").write_text("a good movie\n")
    run(tmp_path, "record", "model", "--data", "texts.txt", "--out", "maps")
    sample = open_atlas(tmp_path / "maps")[0]
    np.testing.assert_allclose(
        sample.probabilities, torch.tensor(sample.logits).sigmoid(), atol=1e-6
    )
    assert sample.predictions == [0, 2]
    assert sample.prediction_name == "a, c"
    assert "predicted a, c" in run(tmp_path, "show", "maps")
    model.classifier.bias.data = torch.full((4,), -9.0)
    model.save_pretrained(tmp_path / "model")
    run(tmp_path, "record", "model", "--data", "texts.txt", "--out", "none")
    assert open_atlas(tmp_path / "none")[0].verdict == "no label, predicted no class"


@pytest.mark.parametrize("problem_type", [None, "regression"])
def test_a_head_of_one_number_predicts_no_class(problem_type, tmp_path) -> None:
    size = save_tokenizer(tmp_path / "model")
    config = transformers.BertConfig(
        **{**TEXT, "vocab_size": size, "max_position_embeddings": 64},
        num_labels=1,
        problem_type=problem_type,
    )
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path / "model")
    (tmp_path / "texts.txt").write_text("a good movie\n")
    run(tmp_path, "record", "model", "--data", "texts.txt", "--out", "maps")
    sample = open_atlas(tmp_path / "maps")[0]
    assert sample.prediction == -1
    assert sample.prediction_name == "not predicted"
