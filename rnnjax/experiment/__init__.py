"""Experiments: missing runs are trained, pages rendered, claims and records verified."""
