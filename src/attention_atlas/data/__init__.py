"""Data of three modalities: packaged sets, downloaded sets, and your own files."""
