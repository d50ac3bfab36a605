"""A tiny model of every kind that the installed transformers knows, and what is right of it."""
