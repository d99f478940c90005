"""Data modules for Lightning's trainer."""

from lightning.pytorch import LightningDataModule

from attention_atlas.data.base import AtlasDataModule


def for_trainer(datamodule: AtlasDataModule) -> None:
    """Turn a data module into one that Lightning's trainer takes.

    The classes of `data` do without Lightning, whose import takes several times as long as that of
    torch: a prediction uses them, too. The name of the class stays, by which Lightning keeps the
    state of a data module in its checkpoints.
    """
    own = type(datamodule)
    names = {"__module__": own.__module__, "__qualname__": own.__qualname__}
    datamodule.__class__ = type(own.__name__, (own, LightningDataModule), names)
    LightningDataModule.__init__(datamodule)  # type: ignore[arg-type]
