"""Networks that turn a face into a vector: their code, their files, opening and exporting them."""
