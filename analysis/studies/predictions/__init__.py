"""What does a model predict after a prompt, and without a head?"""
