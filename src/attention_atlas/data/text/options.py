"""Options of texts, checked before torch is imported."""

from typing import Annotated

from pydantic import Field, PositiveInt

from attention_atlas.data.options import DataOptions
from attention_atlas.option_schema import Keywords, Rate, keyword


class TextOptions(DataOptions):
    """Keywords of `TextDataModule`."""

    vocab_size: Annotated[int, Field(ge=100)] = keyword("Maximum number of tokens.", 16_000)
    max_length: PositiveInt = keyword("Tokens of a longer text that count in evaluation.", 1024)
    tokenizer_path: str | None = keyword("A tokenizer.json to use in place of training one.")
    text_column: str = keyword("Header of the texts in a CSV file.", "text")
    label_column: str = keyword("Header of the labels in a CSV file.", "label")
    id_column: str | None = keyword(
        "Header of unique sample ids in a CSV file; null derives ids from the content."
    )
    splits: dict[str, str] | None = keyword("One CSV file for each of train, val and test.")
    quoted: bool = keyword("Whether quotation marks in a CSV file enclose fields.", True)
    encoding: str | None = keyword(
        "Encoding of a CSV file, such as cp1252; null: by its mark or content, else UTF-8."
    )


class TextAugmentationOptions(Keywords):
    """How training texts are varied; the default is not at all."""

    word_dropout: Rate = keyword("Fraction of the tokens that are masked.", 0.0)
    crop_length: PositiveInt | None = keyword(
        "Tokens of the random window of a longer text that is seen at a time; null: its first."
    )
