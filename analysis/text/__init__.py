"""Text to train and to evaluate on, and its tokens."""
