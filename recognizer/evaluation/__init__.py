"""How good a recogniser is: verification, identification, and both for groups of people."""
