"""What every study asks through: frozen questions, judgements, and the rows of their answers."""
