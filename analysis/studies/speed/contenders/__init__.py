"""What is timed beside us, and how."""
