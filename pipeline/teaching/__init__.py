"""Teaching while the picture runs: a click becomes samples, a fitted head, a new snapshot."""
