"""All studies beside each other: what is asked, what holds, and how it was measured."""
