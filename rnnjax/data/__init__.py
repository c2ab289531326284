"""What networks read: corpora, their vocabulary, and batches."""
