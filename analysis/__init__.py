"""Models, text and scores: tensors in, tables out."""
