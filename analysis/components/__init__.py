"""Parameter components: weights as sums of rank-one parts, and which of them a token needs."""
