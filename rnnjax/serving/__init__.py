"""Serving of trained networks over HTTP."""
