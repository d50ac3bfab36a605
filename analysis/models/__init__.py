"""Causal language models: which one is meant, and loading it instrumented."""
