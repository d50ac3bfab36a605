"""How does recall of a list depend on lag, and which heads does it take?"""
