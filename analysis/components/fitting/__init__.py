"""How decompositions are made: recipe, training, and the card of what came of it."""
