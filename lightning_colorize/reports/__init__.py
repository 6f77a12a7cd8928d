"""HTML pages: the comparison, the sweep and the perception study."""
