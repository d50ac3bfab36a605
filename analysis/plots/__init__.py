"""Every chart of the book, by its shape. Titles say the finding; scores share [0, 1]."""
