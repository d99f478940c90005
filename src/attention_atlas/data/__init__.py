"""Real data in three modalities: embedded sets, full-scale sets, and your own files."""
