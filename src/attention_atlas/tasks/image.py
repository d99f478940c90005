"""The class of an image."""

from attention_atlas.data.base import AtlasDataModule
from attention_atlas.data.image.module import ImageDataModule
from attention_atlas.encoder import Embedding, PatchEmbedding
from attention_atlas.tasks.base import ClassificationTask, Options


class ImageTask(ClassificationTask):
    """Classify images by their patches."""

    modality = "image"

    @staticmethod
    def make_embedding(datamodule: AtlasDataModule, embed_dim: int, options: Options) -> Embedding:
        """Patches of images of the size that the data has."""
        assert isinstance(datamodule, ImageDataModule)
        return PatchEmbedding(
            image_size=datamodule.image_size,
            channels=datamodule.channels,
            embed_dim=embed_dim,
            **options,
        )
