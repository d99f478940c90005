"""Audio: corpora, folders, noise and log-mel spectrograms."""
