"""One shared attention module, three modalities, every map saved.

The public names are imported on first use, so that `import attention_atlas` stays fast and opening
an atlas needs no torch.
"""

from importlib import import_module

TYPE_CHECKING = False  # typing takes longer to import than the rest of the start of a command
if TYPE_CHECKING:
    from attention_atlas.atlas import open_atlas
    from attention_atlas.attention import Attention, record
    from attention_atlas.pipeline.load_run import load_run

__version__ = "0.1.0"

__all__ = ["Attention", "load_run", "open_atlas", "record"]

_MODULES = {
    "Attention": "attention_atlas.attention",
    "load_run": "attention_atlas.pipeline.load_run",
    "open_atlas": "attention_atlas.atlas",
    "record": "attention_atlas.attention",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
