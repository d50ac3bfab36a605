"""Retrieval: questions whose answer stands somewhere in a context, and which heads fetch it."""
