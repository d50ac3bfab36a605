"""A model's folder before any weight is read: its card, its formats, what is wrong with them."""
