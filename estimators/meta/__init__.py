"""Meta-learning: weights and step sizes that learn so that learning does not interfere with what is known."""
