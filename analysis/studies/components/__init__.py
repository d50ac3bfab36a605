"""How good is a decomposition, and what are its components?"""
