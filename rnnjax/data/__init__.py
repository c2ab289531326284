"""Corpora, vocabularies, and batches that follow from seed and step."""
