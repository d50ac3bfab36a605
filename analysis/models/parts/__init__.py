"""The parts of a loaded model, and what is measured to hold of them."""
