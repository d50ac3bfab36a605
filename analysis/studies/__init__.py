"""One room for every question that the book asks of a model; this list alone knows them all."""
