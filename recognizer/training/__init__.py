"""Training an embedder by a teacher; fitting a head, or the network itself, to known people."""
