"""Texts: corpora, byte-pair tokens, windows and masked words."""
