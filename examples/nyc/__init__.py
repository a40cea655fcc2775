"""Real flights of 2013 out of New York's three airports: data, a transform, and what it must come to."""
