"""Do different kinds of ablation agree on which heads matter?"""
