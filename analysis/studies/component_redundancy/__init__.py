"""Is the value a few tokens back all that a pair of components was for?"""
