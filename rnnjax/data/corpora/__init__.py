"""Labelled text from AG News or from the docstrings of the installed libraries."""

from rnnjax.data.corpora.corpus import Corpus, CorpusSplit, TextColumn
from rnnjax.data.corpora.csv_files import CsvRow, read_csv
from rnnjax.data.corpora.sources import load

__all__ = ["Corpus", "CorpusSplit", "CsvRow", "TextColumn", "load", "read_csv"]
