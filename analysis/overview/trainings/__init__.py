"""Several trainings of one recipe: what forms when, and what holds in each."""
