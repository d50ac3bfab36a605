"""Which heads fetch an answer from its context, and does the model need them?"""
