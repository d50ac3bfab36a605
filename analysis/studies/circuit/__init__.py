"""Is there an induction circuit, which heads is it made of, and is each of them needed?"""
