"""Passes over a model with interventions in them: what they share is computed once."""
