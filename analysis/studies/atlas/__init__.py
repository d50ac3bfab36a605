"""What does every head look at?"""
