"""The perception study: a page that asks people, and the score of their answers."""
