"""Experiments: what they lack is run, what they found is rendered, what they claim is checked."""
