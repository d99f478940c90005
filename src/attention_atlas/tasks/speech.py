"""The word that is spoken."""

from attention_atlas.data.audio.module import AudioDataModule
from attention_atlas.data.base import AtlasDataModule
from attention_atlas.encoder import Embedding, SpectrogramEmbedding
from attention_atlas.tasks.base import ClassificationTask, Options


class SpeechTask(ClassificationTask):
    """Classify clips by their log-mel spectrogram."""

    modality = "audio"

    @staticmethod
    def make_embedding(datamodule: AtlasDataModule, embed_dim: int, options: Options) -> Embedding:
        """Frames or patches of spectrograms of the size that the data has."""
        assert isinstance(datamodule, AudioDataModule)
        return SpectrogramEmbedding(
            num_mels=datamodule.num_mels,
            num_frames=datamodule.num_frames,
            hop_seconds=datamodule.hop_seconds,
            mel_edges=datamodule.mel_edges,
            embed_dim=embed_dim,
            **options,
        )
