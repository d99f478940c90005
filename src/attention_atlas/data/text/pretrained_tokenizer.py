"""The tokenizer of a pretrained model, and its special tokens."""

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from attention_atlas.data.text.tokenizer import SpecialTokens
from attention_atlas.errors import InputError
from attention_atlas.pretrained.source import load, load_config

COUNTED_FROM_PADDING = {"roberta", "xlm-roberta", "xlm-roberta-xl", "roberta-prelayernorm"}
COUNTED_FROM_PADDING |= {"camembert", "data2vec-text", "xmod"}
"""Model types whose positions start behind the id of padding, so that the first ones are unused."""


def load_pretrained_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a pretrained model.

    Raises:
        InputError: The model has none, or one without character spans.
    """
    tokenizer: PreTrainedTokenizerBase = load(name, "tokenizer", AutoTokenizer.from_pretrained)
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(
            f"encoder.name={name} has a tokenizer that does not tell which characters a token "
            "stands for; take a model with a tokenizer.json."
        )
    if not _has_words(tokenizer):  # transformers invents one if the files are missing
        raise InputError(
            f"The pretrained model {name} has no tokenizer: there is no vocabulary among its "
            "files, such as a tokenizer.json."
        )
    return tokenizer


def _has_words(tokenizer: PreTrainedTokenizerBase) -> bool:
    special = set(tokenizer.all_special_tokens)
    return any(map(str.isalnum, "".join(tokenizer.get_vocab().keys() - special)))


def plain_tokenizer(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """Return the tokenizer of the library `tokenizers`, without truncation and padding."""
    plain = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    plain.no_truncation()
    plain.no_padding()
    return plain


def special_tokens(name: str, tokenizer: PreTrainedTokenizerBase) -> SpecialTokens:
    """Return the special token ids of a pretrained model.

    Missing ones for padding, unknown or masked text are replaced by the most similar one.
    """
    encoding = plain_tokenizer(tokenizer).encode("a")
    inner = [index for index, special in enumerate(encoding.special_tokens_mask) if not special]
    first, behind = (inner[0], inner[-1] + 1) if inner else (len(encoding.ids), len(encoding.ids))
    before, after = tuple(encoding.ids[:first]), tuple(encoding.ids[behind:])
    end = tokenizer.eos_token_id if tokenizer.sep_token_id is None else tokenizer.sep_token_id
    pad = _first(tokenizer.pad_token_id, end, 0)
    unknown = _first(tokenizer.unk_token_id, pad)
    return SpecialTokens(
        pad=pad,
        unknown=unknown,
        mask=_first(tokenizer.mask_token_id, unknown),
        before=before,
        after=after,
        max_tokens=_max_tokens(name, tokenizer) - len(before) - len(after),
    )


def _first(*ids: int | None) -> int:
    return next(number for number in ids if number is not None)


def _max_tokens(name: str, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the maximum number of tokens of a text, special ones included."""
    config = load_config(name)
    config = getattr(config, "text_config", config)
    positions = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
    if config.model_type in COUNTED_FROM_PADDING:
        positions -= config.pad_token_id + 1
    return int(min(positions, tokenizer.model_max_length, 10**6))
