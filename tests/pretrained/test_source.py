"""Loading a pretrained model: what is switched off, what is kept, and what is refused."""

import json
from pathlib import Path

import pytest
import transformers

from attention_atlas.encoder.recordable import load_whole
from attention_atlas.errors import InputError
from attention_atlas.pretrained.source import load_model
from tests.pretrained.architectures import SEQUENCES, SOUND, TEXT


@pytest.mark.parametrize("name", ["Wav2Vec2", "Hubert"])
def test_a_head_of_sounds_is_kept_whatever_its_class_is_called(name: str, tmp_path: Path) -> None:
    labels = {0: "yes", 1: "no", 2: "up"}
    config = getattr(transformers, f"{name}Config")(**SOUND, id2label=labels)
    getattr(transformers, f"{name}ForSequenceClassification")(config).save_pretrained(tmp_path)
    model, _, classes = load_whole(str(tmp_path), "audio")
    assert type(model).__name__ == f"{name}ForSequenceClassification"
    assert classes == ["yes", "no", "up"]


@pytest.mark.parametrize("name", ["TFBertForSequenceClassification", "BertForRatings"])
def test_a_head_is_recognised_by_its_class_or_its_name(name: str, tmp_path: Path) -> None:
    config = transformers.BertConfig(**TEXT, num_labels=3)
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(saved | {"architectures": [name]}))
    _, _, classes = load_whole(str(tmp_path), "text")
    assert len(classes) == (3 if "ForSequenceClassification" in name else 0)


@pytest.mark.parametrize("name", ["SentenceBertForSequenceClassification", "BertModel"])
def test_a_model_without_the_weights_of_a_head_predicts_nothing(name: str, tmp_path: Path) -> None:
    transformers.BertModel(transformers.BertConfig(**TEXT)).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(saved | {"architectures": [name]}))
    assert load_whole(str(tmp_path), "text")[2] == []


@pytest.mark.parametrize("with_weights", [True, False])
def test_nothing_is_left_out_at_random_within_a_model(with_weights, tmp_path: Path) -> None:
    config = transformers.WhisperConfig(**SEQUENCES, encoder_layerdrop=0.5)
    transformers.WhisperModel(config).save_pretrained(tmp_path / "whisper")
    whisper = load_model(str(tmp_path / "whisper"), "audio", with_weights)
    assert whisper.layerdrop == 0
    options = {**SOUND, "mask_time_prob": 0.5, "layerdrop": 0.5}
    config = transformers.Wav2Vec2Config(**options)
    transformers.Wav2Vec2Model(config).save_pretrained(tmp_path / "wav2vec2")
    wav2vec2 = load_model(str(tmp_path / "wav2vec2"), "audio", with_weights)
    assert (wav2vec2.config.layerdrop, wav2vec2.config.apply_spec_augment) == (0, False)
    config = transformers.Data2VecAudioConfig(**options)
    transformers.Data2VecAudioModel(config).save_pretrained(tmp_path / "data2vec")
    data2vec = load_model(str(tmp_path / "data2vec"), "audio", with_weights)
    assert not data2vec.config.apply_spec_augment  # which it reads, and its config does not have


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "bert", **TEXT, "hidden_act": "nope"},
        {"model_type": "bert", **TEXT, "hidden_size": 30},
        {"model_type": "layoutlmv2"},  # needs a package that does not come with transformers
        {"model_type": "vision-encoder-decoder"},
    ],
)
@pytest.mark.parametrize("with_weights", [True, False])
@pytest.mark.slow
def test_a_model_that_cannot_be_built_ends_in_a_one_line_error(
    config, with_weights, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=f"pretrained model {tmp_path} has no"):
        load_model(str(tmp_path), "text", with_weights)
