"""What several sub-commands share: the parser, groups of flags, opening what they name."""
