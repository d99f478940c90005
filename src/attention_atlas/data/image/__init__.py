"""Images: corpora, folders and batched augmentation."""
