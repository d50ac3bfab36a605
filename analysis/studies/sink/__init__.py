"""Is the sink at position 0 the BOS token, does it carry anything, and is it needed?"""
