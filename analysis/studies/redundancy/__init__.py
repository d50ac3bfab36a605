"""Is the value a few tokens back all that a previous-token head carried?"""
