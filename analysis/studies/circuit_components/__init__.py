"""Which components of two layers does an induction circuit need?"""
