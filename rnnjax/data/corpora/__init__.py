"""Corpora: AG News and the docstrings of the installed libraries, plain text and sentence pairs."""

from rnnjax.data.corpora.corpus import Corpus, CorpusSplit, TextColumn
from rnnjax.data.corpora.csv_files import CsvRow, read_csv
from rnnjax.data.corpora.sources import load

__all__ = ["Corpus", "CorpusSplit", "CsvRow", "TextColumn", "load", "read_csv"]
