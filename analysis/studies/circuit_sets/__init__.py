"""How few heads are enough to copy, and is each of them needed?"""
