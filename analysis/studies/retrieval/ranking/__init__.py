"""Which heads rank high at retrieving, and what sets of them cost."""
