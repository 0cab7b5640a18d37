"""Files of networks, whatever they are for: reading, running, exporting and averaging them."""
