"""Options as pydantic models: names, types and ranges, and messages that say what is allowed."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from attention_atlas.errors import InputError

Rate = Annotated[float, Field(ge=0, lt=1)]
"""From 0 to below 1, such as the rate of a dropout."""

Fraction = Annotated[float, Field(ge=0, le=1)]
"""From 0 to 1."""


class Node(BaseModel):
    """A group of options, none of which may be missing or unknown."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class Keywords(Node):
    """Keywords of a class of this project: each of them may be left out."""


class OpenKeywords(Keywords):
    """Keywords of a class of another package, which may have more than are named here."""

    model_config = ConfigDict(extra="allow")


Options = TypeVar("Options", bound=Node)


def keyword(description: str, default: Any = None, allowed: str | None = None) -> Any:
    """Describe an option.

    Args:
        description: What it does.
        default: Value of an option that is left out, not checked; `...` where it may not be.
        allowed: What to say about allowed values where the type does not tell it.
    """
    extra: dict[str, Any] = {} if allowed is None else {"allowed": allowed}
    return Field(default=default, description=description, json_schema_extra=extra)


def check_options(
    model: type[Options], values: Mapping[str, Any], prefix: str = "", complete: bool = True
) -> Options:
    """Check options by their model, and return them as such.

    Args:
        model: The model of the options.
        values: Plain and resolved; names that begin with `_`, such as `_target_`, are skipped.
        prefix: The key of the group in the config, ending in a dot; empty for the whole config.
        complete: Whether an option without a default must be there.

    Raises:
        InputError: An option is unknown or missing, or its value is not allowed. The message has
            the key, the value, what is allowed, or the closest name.
    """
    try:
        return model.model_validate(_public(values))
    except ValidationError as error:
        options = described_options(model, prefix)
        errors = error.errors(include_url=False)
        for found in sorted(errors, key=lambda each: each["type"] != "extra_forbidden"):
            if complete or found["type"] != "missing":
                raise InputError(_message(found, values, options, prefix)) from error
        return model.model_construct(**_public(values))  # only some are missing


def described_options(model: type[Node], prefix: str = "") -> dict[str, dict[str, Any]]:
    """Describe each option of a model, by dotted key, as JSON Schema has it."""
    schema = model.model_json_schema()
    options: dict[str, dict[str, Any]] = {}

    def collect(node: Mapping[str, Any], prefix: str) -> None:
        for name, option in node.get("properties", {}).items():
            options[f"{prefix}{name}"] = option
            for part in (option, *option.get("anyOf", [])):
                if "$ref" in part:
                    collect(schema["$defs"][part["$ref"].rpartition("/")[2]], f"{prefix}{name}.")

    collect(schema, prefix)
    return options


def describe_allowed(option: Mapping[str, Any]) -> str:
    """Say in words which values an option takes, from its JSON Schema."""
    if "allowed" in option:
        return str(option["allowed"])
    if "const" in option:
        return _shown(option["const"])
    if "enum" in option:
        names = [str(value) for value in option["enum"]]
        return " or ".join(names) if len(names) < 3 else f"one of {', '.join(names)}"
    if "anyOf" in option:
        *others, last = map(describe_allowed, option["anyOf"])
        return f"{', '.join(others)}, or {last}"
    if option.get("type") in ("integer", "number"):
        return _describe_number(option)
    return TYPES.get(option.get("type", "object"), "a value")


def unknown_key(key: str, known: Iterable[str]) -> str:
    """Say that a key is unknown, with the closest one and what stands beside it."""
    known = list(known)
    parent, _, last = key.rpartition(".")
    siblings = [name.removeprefix(f"{parent}.") for name in known if name.startswith(f"{parent}.")]
    siblings = sorted({name.split(".")[0] for name in (siblings if parent else known)})
    same_name = [name for name in known if name.rpartition(".")[2] == last]
    close = same_name or get_close_matches(key, known, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    taken = f" {parent or 'The config'} has {', '.join(siblings)}." if siblings else ""
    return f"{key} is not a key of the config.{hint}{taken}"


TYPES = {
    "boolean": "true or false",
    "string": "text",
    "null": "null",
    "object": "a group of values",
    "array": "a list",
}


def _describe_number(option: Mapping[str, Any]) -> str:
    is_integer = option["type"] == "integer"
    low, above = option.get("minimum"), option.get("exclusiveMinimum")
    high, below = option.get("maximum"), option.get("exclusiveMaximum")
    if is_integer and above is not None:
        low, above = above + 1, None
    noun = "an integer" if is_integer else "a number"
    if low is not None and high is not None:
        return f"{noun} from {low:g} to {high}"
    if low is not None and below is not None:
        return f"{noun} from {low:g} to below {below:g}"
    if above is not None:
        noun = f"{noun} above {above:g}"
    limits = {f"{low} or more": low, f"below {below}": below, f"{high} or less": high}
    return ", ".join([noun, *(words for words, limit in limits.items() if limit is not None)])


def _message(
    error: Mapping[str, Any],
    values: Mapping[str, Any],
    options: Mapping[str, dict[str, Any]],
    prefix: str,
) -> str:
    """Turn an error of pydantic into a message for the user."""
    path = [str(part) for part in error["loc"]]
    key = prefix + ".".join(path)
    if error["type"] == "extra_forbidden":
        return unknown_key(key, options)
    if error["type"] == "missing":
        return f"{key} is missing from the config; it cannot be deleted."
    if error["type"] == "value_error":  # of a validator of a model, which names the keys
        return str(error["ctx"]["error"])
    while path and prefix + ".".join(path) not in options:  # as of an item of a list
        path.pop()
    value: Any = values
    for part in path:
        value = value[part]
    key = prefix + ".".join(path)
    return f"{key}={_shown(value)} is not possible: take {describe_allowed(options[key])}."


def _shown(value: Any) -> str:
    """Show a value as it is typed."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value) if value == "" else str(value)


def _public(values: Any) -> Any:
    if not isinstance(values, Mapping):
        return values
    return {key: _public(value) for key, value in values.items() if not str(key).startswith("_")}
