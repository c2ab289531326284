"""Labelled text from AG News or from the docstrings of the installed libraries."""

from rnnjax.data.corpora.corpus import Corpus, Split, TextColumn
from rnnjax.data.corpora.csv_files import Row, read_csv
from rnnjax.data.corpora.sources import load

__all__ = ["Corpus", "Row", "Split", "TextColumn", "load", "read_csv"]
