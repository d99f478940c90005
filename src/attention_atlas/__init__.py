"""One shared attention module, three modalities, every map kept."""

__version__ = "0.1.0"
