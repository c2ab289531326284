"""Exported networks: folders that answer without JAX."""
